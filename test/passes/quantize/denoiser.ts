import { denseFrom } from "../../../src/calibrate/index.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { elementCount } from "../../../src/ir/dtype.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import { intsAttr, type Model } from "../../../src/ir/graph.ts";
import { f32Tensor, i64Tensor, type Tensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import type { FedCall } from "./statistics.ts";

const rng = createRng(7);
function normal(dims: readonly number[], size: number): Float32Array {
  return Float32Array.from({ length: elementCount(dims) }, () => rng.normal() * size);
}
const tensor = (dims: readonly number[], size: number): Tensor => f32Tensor(normal(dims, size), dims);

const WEIGHTS = {
  first: tensor([16, 4, 3, 3], 0.2),
  conv: tensor([24, 16, 3, 3], 0.1),
  convBias: tensor([24], 0.5),
  gamma: tensor([24], 1),
  beta: tensor([24], 0.3),
  linear: tensor([24, 48], 0.2),
  linearBias: tensor([48], 0.5),
  back: tensor([48, 16], 0.2),
  gemm: tensor([32, 16], 0.2),
  gemmBias: tensor([32], 0.5),
  last: tensor([4, 32, 1, 1], 0.2),
};
const SAMPLE = [2, 4, 8, 8];

/**
 * A small denoiser whose inner layers see a range that the timestep moves: convolution, a linear layer behind a layer
 * norm, one behind an activation, and a Gemm with a transposed weight.
 */
export function denoiser(opset = 21): Model {
  const b = new ModelBuilder({ opset });
  const k = (t: Tensor) => b.constant(t);
  const sample = b.input("sample", "f32", SAMPLE);
  const timestep = b.input("timestep", "i64", [1]);
  const t = b.node("Cast", [timestep], { to: 1 });
  const amplitude = b.node("Add", [b.node("Mul", [t, k(f32Tensor([1 / 250], []))]), k(f32Tensor([0.4], []))]);
  const first = b.node(
    "Conv",
    [sample, k(WEIGHTS.first)],
    { pads: intsAttr([1, 1, 1, 1]) },
    { name: "first" },
  );
  const moved = b.node("Mul", [first, amplitude]);
  const silu = b.node("Mul", [moved, b.node("Sigmoid", [moved])]);
  const conv = b.node(
    "Conv",
    [silu, k(WEIGHTS.conv), k(WEIGHTS.convBias)],
    { pads: intsAttr([1, 1, 1, 1]) },
    { name: "conv" },
  );
  const tokens = b.node("Transpose", [b.node("Reshape", [conv, k(i64Tensor([2, 24, 64]))])], {
    perm: intsAttr([0, 2, 1]),
  });
  const norm = b.node("LayerNormalization", [tokens, k(WEIGHTS.gamma), k(WEIGHTS.beta)]);
  const linear = b.node("Add", [
    b.node("MatMul", [norm, k(WEIGHTS.linear)], {}, { name: "linear" }),
    k(WEIGHTS.linearBias),
  ]);
  const gelu = b.node("Mul", [b.node("Mul", [linear, b.node("Sigmoid", [linear])]), amplitude]);
  const back = b.node("MatMul", [gelu, k(WEIGHTS.back)], {}, { name: "back" });
  const gemm = b.node(
    "Gemm",
    [b.node("Reshape", [back, k(i64Tensor([-1, 16]))]), k(WEIGHTS.gemm), k(WEIGHTS.gemmBias)],
    { transB: 1 },
    { name: "gemm" },
  );
  const image = b.node("Transpose", [b.node("Reshape", [gemm, k(i64Tensor([2, 8, 8, 32]))])], {
    perm: intsAttr([0, 3, 1, 2]),
  });
  const out = b.node("Conv", [image, k(WEIGHTS.last)], {}, { name: "last" });
  return b.output(out, "out_sample", tensorType("f32", SAMPLE)).build();
}

/** Inputs of one call. */
function feedsAt(timestep: number): Map<string, Dense> {
  return new Map([
    ["sample", denseFrom("f32", SAMPLE, normal(SAMPLE, 1))],
    [
      "timestep",
      { dtype: "i64", dims: [1], bytes: new Uint8Array(BigInt64Array.of(BigInt(timestep)).buffer) },
    ],
  ]);
}

/** A made-up trajectory over the timesteps 0 to 1000. */
export const CALLS: readonly FedCall[] = [1000, 750, 500, 250, 0].map((timestep) => ({
  timestep,
  feeds: feedsAt(timestep),
}));
