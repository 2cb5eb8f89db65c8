import type { ValueId } from "../../../src/ir/graph.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { createKit, type Kit } from "../../../fixtures/build/kit.ts";
import type { Examples } from "./example.ts";
import { attention, block, CHANNELS, denoiser, lead, onTokens, residual } from "./models.ts";

const attended = () =>
  denoiser((k, h) => onTokens(k, h, CHANNELS, (t) => attention(k, t, { width: CHANNELS, heads: 4 })));
const perceptron = () =>
  denoiser((k, h) =>
    onTokens(k, h, CHANNELS, (t) =>
      k.linear("ff.out", k.silu(k.linear("ff.in", t, CHANNELS, 32)), 32, CHANNELS),
    ),
  );

/** Sinusoids of the timestep, two layers, one addend per channel. */
function timed(k: Kit, h: ValueId, timestep: ValueId): ValueId {
  const { b } = k;
  const t = b.node("Unsqueeze", [b.node("Cast", [timestep], { to: 1 }), k.i64([1])]);
  const angles = b.node("Mul", [t, b.constant(f32Tensor([1, 0.1, 0.01, 0.001], [1, 4]), "frequencies")]);
  const waves = b.node("Concat", [b.node("Cos", [angles]), b.node("Sin", [angles])], { axis: 1 });
  const time = k.gemm("time.2", k.silu(k.gemm("time.1", waves, 8, CHANNELS)), CHANNELS, CHANNELS);
  return b.node("Add", [h, b.node("Reshape", [time, k.i64([-1, CHANNELS, 1, 1])])]);
}

export const prune: Examples = {
  "prune-heads": {
    of: "self-attention of four heads, one of which goes",
    build: attended,
    options: { ratio: 0.15, align: 4 },
    sampled: true,
  },
  "prune-ffn": {
    of: "a feed-forward of 32 neurons",
    build: perceptron,
    options: { ratio: 0.2, align: 8 },
    sampled: true,
  },
  "prune-channels": {
    of: "a residual block of 16 inner channels",
    build: residual,
    options: { ratio: 0.3, align: 4 },
    sampled: true,
  },
  "prune-structures": {
    of: "a residual block and a feed-forward under one budget",
    build: () =>
      denoiser((k, h) =>
        onTokens(k, block(k, h), CHANNELS, (t) =>
          k.linear("ff.out", k.silu(k.linear("ff.in", t, CHANNELS, 32)), 32, CHANNELS),
        ),
      ),
    options: { ratio: 0.3, align: 4 },
    sampled: true,
  },
  "prune-blocks": {
    of: "a residual block that goes as a whole",
    build: residual,
    options: { ratio: 0.9, calls: 2 },
    sampled: true,
  },
};

export const factorize: Examples = {
  "factorize-linear": {
    of: "a linear layer written as two",
    build: () =>
      denoiser((k, h) => onTokens(k, lead(k, h), CHANNELS, (t) => k.linear("linear", t, CHANNELS, CHANNELS))),
    options: { budget: { rank: 4 }, minElements: 1 },
    sampled: true,
  },
  "factorize-conv": {
    of: "a 3×3 convolution written as three",
    build: () => denoiser((k, h) => k.conv("conv", lead(k, h), CHANNELS, CHANNELS, 3)),
    options: { budget: { rank: 8 } },
    sampled: true,
  },
  "factorize-attention": {
    of: "heads of width 8, which become half as wide",
    build: () =>
      denoiser((k, h) => onTokens(k, h, CHANNELS, (t) => attention(k, t, { width: CHANNELS, heads: 2 }))),
    options: { budget: { ratio: 0.5 } },
    sampled: true,
  },
};

export const others: Examples = {
  "share-bases": {
    of: "two layers that read one value",
    build: () =>
      denoiser((k, h) =>
        onTokens(k, lead(k, h), CHANNELS, (t) => {
          const wide = (name: string): ValueId => k.linear(name, t, CHANNELS, 64);
          return k.linear("out", k.b.node("Mul", [wide("gate"), wide("up")]), 64, CHANNELS);
        }),
      ),
    options: { sqnr: 5 },
    sampled: true,
  },
  "sparsify-weights": {
    of: "a convolution that loses half of its weights",
    build: () => denoiser((k, h) => k.conv("conv", lead(k, h), CHANNELS, CHANNELS, 3)),
    options: { pattern: "2:4" },
    sampled: true,
  },
  "freeze-conditions": {
    of: "a table of classes and a projection of what it holds, at two classes",
    build() {
      const k = createKit({ name: "example", opset: 17 });
      const { b } = k;
      const sample = b.input("sample", "f32", ["batch", 4, 8, 8]);
      b.input("timestep", "i64", ["batch"]);
      const labels = b.input("class_labels", "i64", ["batch"]);
      const h = k.conv("conv_in", sample, 4, CHANNELS, 3);
      const row = b.node("Gather", [k.f32("classes", [4, 32]), labels], { axis: 0 });
      const shift = b.node("Reshape", [k.gemm("class", row, 32, CHANNELS), k.i64([-1, CHANNELS, 1, 1])]);
      const out = k.conv("conv_out", b.node("Add", [h, shift]), CHANNELS, 4, 3);
      return b.output(out, "out_sample", { kind: "tensor", dtype: "f32", shape: null }).build();
    },
    options: { conditions: [0, 3], always: true },
  },
  "freeze-time": {
    of: "an embedding of the timestep, at three of them",
    build: () => denoiser(timed),
    options: { timesteps: [801, 401, 1], always: true },
  },
};
