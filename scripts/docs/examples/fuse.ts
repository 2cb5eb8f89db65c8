import { floatAttr, type ValueId } from "../../../src/ir/graph.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import type { Kit } from "../../../fixtures/build/kit.ts";
import type { Examples } from "./example.ts";
import { model } from "./models.ts";

const mean = (k: Kit, x: ValueId): ValueId => k.b.node("ReduceMean", [x], { axes: [-1], keepdims: 1 });

/** Self-attention as exporters write it, on heads of width 4. */
function attention(k: Kit, x: ValueId): ValueId {
  const { b } = k;
  const split = (name: string, perm: readonly number[]): ValueId =>
    b.node("Transpose", [b.node("Reshape", [k.linear(name, x, 8, 8), k.i64([0, 0, 2, 4])])], { perm });
  const scores = b.node("MatMul", [split("q", [0, 2, 1, 3]), split("k", [0, 2, 3, 1])]);
  const weights = b.node("Softmax", [b.node("Mul", [scores, k.scalar(0.5)])], { axis: -1 });
  const mixed = b.node("MatMul", [weights, split("v", [0, 2, 1, 3])]);
  return b.node("Reshape", [b.node("Transpose", [mixed], { perm: [0, 2, 1, 3] }), k.i64([0, 0, 8])]);
}

export const fuse: Examples = {
  "fuse-group-norm": {
    of: "a group normalisation as PyTorch exports it",
    build: () => model(["batch", 8, 4, 4], (k, x) => k.groupNorm("norm", x, 8, 4), 21),
  },
  "fuse-layer-norm": {
    of: "a layer normalisation in primitives",
    build: () =>
      model(["batch", 16, 8], (k, x) => {
        const { b } = k;
        const centred = b.node("Sub", [x, mean(k, x)]);
        const variance = mean(k, b.node("Pow", [centred, k.scalar(2)]));
        const root = b.node("Sqrt", [b.node("Add", [variance, k.scalar(1e-5)])]);
        const scaled = b.node("Mul", [b.node("Div", [centred, root]), k.f32("weight", [8])]);
        return b.node("Add", [scaled, k.f32("bias", [8])]);
      }),
  },
  "fuse-rms-norm": {
    of: "an RMS normalisation in primitives",
    build: () =>
      model(
        ["batch", 16, 8],
        (k, x) => {
          const { b } = k;
          const square = b.node("ReduceMean", [b.node("Mul", [x, x]), k.i64([-1])], { keepdims: 1 });
          const root = b.node("Sqrt", [b.node("Add", [square, k.scalar(1e-6)])]);
          return b.node("Mul", [b.node("Div", [x, root]), k.f32("weight", [8])]);
        },
        23,
      ),
  },
  "fuse-activation": {
    of: "a GELU by its error function",
    build: () =>
      model(
        ["batch", 16, 8],
        (k, x) => {
          const { b } = k;
          const erf = b.node("Erf", [b.node("Div", [x, k.scalar(Math.SQRT2)])]);
          const gate = b.node("Add", [erf, k.scalar(1)]);
          return b.node("Mul", [b.node("Mul", [x, gate]), k.scalar(0.5)]);
        },
        20,
      ),
  },
  "fuse-attention": {
    of: "self-attention of two heads as exporters write it",
    build: () => model(["batch", 16, 8], attention, 23),
  },
  "pack-attention": {
    of: "self-attention of two heads as one operator with three projections",
    build: () => model(["batch", 16, 8], attention),
    after: [["fuse-attention", { spelling: "com.microsoft.MultiHeadAttention" }], ["remove-dead"]],
  },
  "fuse-split-gelu": {
    of: "the first layer of a gated feed-forward",
    build: () =>
      model(
        ["batch", 16, 8],
        (k, x) => {
          const [value, gate] = k.b.multi("Split", [k.linear("proj", x, 8, 64), k.i64([32, 32])], 2, {
            axis: -1,
          });
          return k.b.node("Mul", [value!, k.b.node("Gelu", [gate!])]);
        },
        20,
      ),
  },
  "fuse-gemm": {
    of: "a linear layer on one vector per sample",
    build: () => model(["batch", 8], (k, x) => k.linear("linear", x, 8, 16)),
  },
  "fuse-affine": {
    of: "the factor and offset of a group normalisation",
    build: () => model(["batch", 8, 4, 4], (k, x) => k.groupNorm("norm", x, 8, 4)),
    target: "cpu-x64",
  },
  "linearise-pointwise": {
    of: "a 1×1 convolution in front of the tokens of a transformer",
    build: () =>
      model(["batch", 8, 4, 4], (k, x) => {
        const tokens = k.b.node("Reshape", [k.conv("proj_in", x, 8, 8, 1), k.i64([0, 0, -1])]);
        return k.linear("linear", k.b.node("Transpose", [tokens], { perm: [0, 2, 1] }), 8, 8);
      }),
  },
  "fuse-depth-to-space": {
    of: "tokens of a transformer that become an image of 2×2 patches",
    build: () =>
      model(["batch", 16, 12], (k, x) => {
        const grid = k.b.node("Reshape", [x, k.i64([-1, 4, 4, 2, 2, 3])]);
        const moved = k.b.node("Einsum", [grid], { equation: "nhwpqc->nchpwq" });
        return k.b.node("Reshape", [moved, k.i64([-1, 3, 8, 8])]);
      }),
  },
  "split-upsample": {
    of: "a convolution behind nearest upsampling",
    build: () =>
      model(["batch", 4, 8, 8], (k, x) => {
        const up = k.b.node("Resize", [x, null, k.b.constant(f32Tensor([1, 1, 2, 2]), "scales")], {
          coordinate_transformation_mode: "asymmetric",
          mode: "nearest",
          nearest_mode: "floor",
          cubic_coeff_a: floatAttr(-0.75),
        });
        return k.conv("conv", up, 4, 4, 3);
      }),
  },
};
