import { floatAttr } from "../../../src/ir/graph.ts";
import type { Examples } from "./example.ts";
import { denoiser, model } from "./models.ts";

export const legalise: Examples = {
  "convert-opset": {
    of: "a reduction whose axes move from an attribute to an input",
    build: () => model(["batch", 16, 8], (k, x) => k.b.node("ReduceMean", [x], { axes: [-1] }), 17),
    options: { to: 21 },
  },
  "narrow-inputs": {
    of: "an input of int64, which the target cannot compute with",
    build: () =>
      denoiser((k, h, timestep) => {
        const t = k.b.node("Cast", [timestep], { to: 1 });
        return k.b.node("Mul", [h, k.b.node("Reshape", [t, k.i64([-1, 1, 1, 1])])]);
      }),
    target: "webgpu",
  },
  "spell-ops": {
    of: "a layer normalisation for a target without one",
    build: () =>
      model(["batch", 16, 8], (k, x) =>
        k.b.node("LayerNormalization", [x, k.f32("weight", [8]), k.f32("bias", [8])], {
          epsilon: floatAttr(1e-5),
        }),
      ),
    options: { layerNorm: "decomposed" },
  },
  "reduce-rank": {
    of: "windows of an image as tokens, for tensors of four axes at most",
    build: () =>
      model(["batch", 8, 8, 3], (k, x) => {
        const grid = k.b.node("Reshape", [x, k.i64([-1, 2, 4, 2, 4, 3])]);
        const moved = k.b.node("Transpose", [grid], { perm: [0, 1, 3, 2, 4, 5] });
        return k.b.node("Reshape", [moved, k.i64([-1, 16, 3])]);
      }),
    options: { maxRank: 4 },
  },
  "spell-lookups": {
    of: "the embedding of a class for a target without Gather",
    build: () =>
      denoiser((k, h, timestep) => {
        const row = k.b.node("Gather", [k.f32("embedding", [4, 8]), timestep]);
        return k.b.node("Add", [h, k.b.node("Reshape", [row, k.i64([-1, 8, 1, 1])])]);
      }),
    target: "coreml",
  },
  "store-shapes": {
    of: "values without a stored type",
    build: () => model([2, 4, 8, 8], (k, x) => k.silu(k.conv("conv", x, 4, 8, 3))),
    stored: true,
    target: "qnn-htp",
  },
  "shorten-names": {
    of: "names as exporters write them",
    build: () =>
      model(["batch", 8], (k, x) => k.gemm("/net/down_blocks.0/attentions.0/proj", k.silu(x), 8, 8)),
  },
};

export const convert: Examples = {
  "convert-float": {
    of: "a convolution and a normalisation between inputs and outputs that keep their type",
    build: () =>
      denoiser((k, h) => {
        const normed = k.groupNorm("norm", h, 16, 4);
        return k.conv("conv", k.silu(normed), 16, 16, 3);
      }),
    target: "webgpu",
    sampled: true,
  },
};
