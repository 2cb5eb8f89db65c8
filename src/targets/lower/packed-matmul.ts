import { attrFloat, attrInt, intAttr, type Node, type ValueId } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { castTensor } from "../../runtime/kernels/cast.ts";
import { dequantizeBlocks } from "../../runtime/kernels/dequantize.ts";
import { fitTensor } from "../../runtime/kernels/fit-weight.ts";
import { quantizeBlocks } from "../../runtime/kernels/quantize-blocks.ts";
import { type StoredWeight, storedNarrow, type WeightGrid, type WeightShape } from "./weights.ts";

/** A linear layer as `activation · weight + bias`. */
interface Linear {
  readonly activation: ValueId;
  readonly bias: ValueId | null;
}

/** Operators that are such a product, and when; adding one is a row here. */
const LINEAR: Readonly<Record<string, (node: Node) => Linear | null>> = {
  MatMul: (n) => ({ activation: n.inputs[0]!, bias: null }),
  Gemm: (n) => {
    const plain =
      (attrFloat(n, "alpha") ?? 1) === 1 &&
      (attrFloat(n, "beta") ?? 1) === 1 &&
      (attrInt(n, "transA") ?? 0) === 0;
    return plain ? { activation: n.inputs[0]!, bias: n.inputs[2] ?? null } : null;
  },
};

/** A weight packed for MatMulNBits; several layers may read it. */
export interface PackedWeight extends StoredWeight {
  readonly inputs: readonly ValueId[];
  readonly attrs: Readonly<Record<string, number>>;
  /** Factors [in, rank] and [rank, out] of a branch beside it; empty without one. */
  readonly branch: readonly ValueId[];
}

/** True when the node can be written as MatMulNBits (with an Add for its bias). */
export function packable(node: Node): boolean {
  return node.domain === "" && LINEAR[node.op]?.(node) != null;
}

/** Bits of a half-precision scale. */
const SCALE_BITS = 16;

/** The block size up to `limit` that packs a row in the fewest bits: MatMulNBits pads the last block of every row. */
function smallestPacking(length: number, { bits, block: limit, symmetric }: WeightGrid): number {
  const extra = SCALE_BITS + (symmetric ? 0 : bits);
  let best = 16;
  const cost = (b: number): number => Math.ceil(length / b) * (b * bits + extra);
  for (let b = 32; b <= limit; b *= 2) if (cost(b) <= cost(best)) best = b;
  return best;
}

/** accuracy_level at which the CPU kernel multiplies in int8. */
const INT8_LEVEL = 4;

/**
 * Packs a matrix; scales are stored in half precision and widened at load. Not at the int8 level: there the CPU kernel
 * of onnxruntime 1.30 gives zeros when the scales are not a plain constant, as in sessions without optimisation.
 */
export function packWeight(
  patch: PatchBuilder,
  w: WeightShape,
  grid: WeightGrid,
  name: string,
  accuracyLevel: number,
): PackedWeight {
  const { bits, search, symmetric, fit } = grid;
  const order = w.outAxis === 1 ? "KN" : "NK";
  const blockSize = smallestPacking(w.tensor.dims[w.inAxis]!, grid);
  const scaleType = accuracyLevel === INT8_LEVEL ? "f32" : "f16";
  const pack = (t: Tensor) => quantizeBlocks(t, { bits, blockSize, order, search, symmetric, scaleType });
  const [K, N] = [w.tensor.dims[w.inAxis]!, w.tensor.dims[w.outAxis]!];
  const fitted =
    fit === null
      ? null
      : fitTensor(w.tensor, {
          ...fit,
          order,
          packing: "nbits",
          bits,
          block: blockSize,
          symmetric,
          search,
          scaleType,
        });
  const packed =
    fitted === null ? pack(w.tensor) : { packed: fitted.data, scales: fitted.scale, zeroPoints: fitted.zero };
  const inputs = [
    patch.constant(packed.packed, `${name}.q`),
    scaleType === "f32"
      ? patch.constant(packed.scales, `${name}.s`)
      : storedNarrow(patch, packed.scales, `${name}.s`),
  ];
  const stored = [packed.packed, packed.scales];
  if (packed.zeroPoints !== null) {
    inputs.push(patch.constant(packed.zeroPoints, `${name}.z`));
    stored.push(packed.zeroPoints);
  }
  const low = fitted?.branch ?? null;
  const factors = low === null ? [] : [low.first, low.second];
  return {
    inputs,
    branch: factors.map((t, i) => storedNarrow(patch, t, `${name}.${"ab"[i]}`)),
    stored: [...stored, ...factors],
    fitted,
    restore(v) {
      const q = pack(v.tensor);
      // The kernel multiplies in fp32 whatever type the scales are stored in.
      return dequantizeBlocks({ ...q, scales: castTensor(q.scales, "f32") }, { bits, blockSize, order });
    },
    attrs: { K, N, bits, block_size: blockSize },
  };
}

/** Replaces a linear layer by MatMulNBits over a packed weight. */
export function writePacked(
  patch: PatchBuilder,
  node: Node,
  weight: PackedWeight,
  accuracyLevel: number,
): void {
  const { activation, bias } = LINEAR[node.op]!(node)!;
  const attrs = { ...weight.attrs, accuracy_level: accuracyLevel };
  const [product] = patch.node({
    op: "MatMulNBits",
    domain: "com.microsoft",
    name: node.name,
    inputs: [activation, ...weight.inputs],
    attrs: Object.fromEntries(Object.entries(attrs).map(([k, v]) => [k, intAttr(v)])),
  });
  const add = (part: string, a: ValueId, b: ValueId): ValueId =>
    patch.node({ op: "Add", name: `${node.name}/${part}`, inputs: [a, b] })[0];
  let out = product;
  if (weight.branch.length === 2) {
    const [first, second] = weight.branch as [ValueId, ValueId];
    const [narrow] = patch.node({ op: "MatMul", name: `${node.name}/down`, inputs: [activation, first] });
    const [wide] = patch.node({ op: "MatMul", name: `${node.name}/up`, inputs: [narrow, second] });
    out = add("sum", out, wide);
  }
  if (bias !== null) out = add("bias", out, bias);
  patch.redirect(node.outputs[0]!, out).remove(node.id);
}
