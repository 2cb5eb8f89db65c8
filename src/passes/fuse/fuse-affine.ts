import { elementCount } from "../../ir/dtype.ts";
import { floatAttr } from "../../ir/graph.ts";
import { f32Tensor } from "../../ir/tensor.ts";
import { castTensor } from "../../runtime/kernels/cast.ts";
import { reshapeTensor } from "../../runtime/kernels/reshape.ts";
import { definePass } from "../pass.ts";
import { type Rule, rewriteToFixedPoint } from "../rewrite.ts";

/** Per-channel factor and offset of a [N, C, ...] tensor, in one pass over memory. */
const affineToBatchNorm: Rule = {
  name: "affine-to-batch-norm",
  ops: ["Add"],
  apply(c, add) {
    const side = c.producer(add, 0, "Mul") !== undefined ? 0 : 1;
    const mul = c.producer(add, side, "Mul");
    if (mul === undefined || c.onlyUser(mul) !== add) return false;
    const bias = c.constant(add, 1 - side);
    const factor = c.constant(mul, 1) ?? c.constant(mul, 0);
    const x = c.constant(mul, 1) !== null ? mul.inputs[0] : mul.inputs[1];
    const shape = c.shape(x);
    const dtype = x === null || x === undefined ? null : c.shapes.dtype(x);
    if (bias === null || factor === null || shape === null || shape.length < 3 || dtype === null)
      return false;
    const channels = shape[1];
    const perChannel = (dims: readonly number[]): boolean =>
      dims.length <= shape.length &&
      elementCount(dims) === channels &&
      dims[dims.length - shape.length + 1] === channels;
    if (typeof channels !== "number" || channels === 1) return false;
    if (!perChannel(factor.dims) || !perChannel(bias.dims) || !c.claim(add, mul)) return false;
    const constant = (t: typeof bias, name: string) =>
      c.patch.constant(reshapeTensor(t, [channels]), `${add.name}_${name}`);
    const fill = (v: number) => castTensor(f32Tensor(new Float32Array(channels).fill(v)), dtype);
    const [out] = c.patch.node({
      op: "BatchNormalization",
      name: add.name,
      inputs: [
        x!,
        constant(factor, "scale"),
        constant(bias, "bias"),
        constant(fill(0), "mean"),
        constant(fill(1), "var"),
      ],
      // Mean 0, variance 1, epsilon 0: the result is x·scale + bias to the bit.
      attrs: { epsilon: floatAttr(0) },
    });
    c.bypass(add, out);
    c.patch.remove(mul.id);
    return true;
  },
};

export const fuseAffine = definePass<Record<string, never>>({
  name: "fuse-affine",
  family: "fuse",
  summary: "Replaces a per-channel Mul and Add by one BatchNormalization",
  doc: `What is left of a group normalisation after its statistics is a factor and an offset per channel. As two
operations they cross memory twice; onnxruntime's CPU BatchNormalization does both in one crossing and, with mean 0,
variance 1 and epsilon 0, gives the same bits. Only targets whose runtime gains from it ask for this pass.`,
  effect: "exact",
  options: { type: "object", additionalProperties: false, properties: {} },
  version: 1,
  run(graph, _options, ctx) {
    rewriteToFixedPoint(graph, [affineToBatchNorm], ctx, "fuse-affine");
  },
});
