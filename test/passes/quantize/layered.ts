import { denseFrom } from "../../../src/calibrate/index.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { elementCount } from "../../../src/ir/dtype.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import { intsAttr, type Model, type ValueId } from "../../../src/ir/graph.ts";
import { f32Tensor, type Tensor } from "../../../src/ir/tensor.ts";
import { createRng } from "../../../src/numeric/rng.ts";

function normal(dims: readonly number[], seed: number): Float32Array {
  const rng = createRng(seed);
  return Float32Array.from({ length: elementCount(dims) }, () => rng.normal());
}
/** Normal weights. */
export const weight = (dims: readonly number[]): Tensor =>
  f32Tensor(
    normal(dims, 1).map((v) => v * 0.1),
    dims,
  );

/** A model of one layer, called "layer". */
export interface Layered {
  readonly dims: readonly number[];
  /** Whether a bias takes up the mean of the error. */
  readonly bias: boolean;
  /** Axis of the output channels. */
  readonly axis: number;
  make(b: ModelBuilder, x: ValueId): ValueId;
}

/** Layers of every kind that quantizers treat apart. */
export const LAYERS: Readonly<Record<string, Layered>> = {
  MatMul: {
    dims: [3, 40, 64],
    bias: false,
    axis: 2,
    make: (b, x) => b.node("MatMul", [x, b.constant(weight([64, 48]))], {}, { name: "layer" }),
  },
  "MatMul with a ragged K and an Add behind": {
    dims: [120, 72],
    bias: true,
    axis: 1,
    make: (b, x) =>
      b.node("Add", [
        b.node("MatMul", [x, b.constant(weight([72, 32]))], {}, { name: "layer" }),
        b.constant(f32Tensor(normal([32], 4), [32])),
      ]),
  },
  Gemm: {
    dims: [120, 64],
    bias: true,
    axis: 1,
    make: (b, x) =>
      b.node(
        "Gemm",
        [x, b.constant(weight([48, 64])), b.constant(f32Tensor(normal([48], 4), [48]))],
        { transB: 1 },
        { name: "layer" },
      ),
  },
  Conv: {
    dims: [2, 16, 9, 8],
    bias: true,
    axis: 1,
    make: (b, x) =>
      b.node(
        "Conv",
        [x, b.constant(weight([24, 16, 3, 3])), b.constant(f32Tensor(normal([24], 4), [24]))],
        { pads: intsAttr([1, 0, 1, 2]), strides: intsAttr([2, 1]) },
        { name: "layer" },
      ),
  },
  "Conv, 1×1": {
    dims: [2, 64, 7, 7],
    bias: false,
    axis: 1,
    make: (b, x) => b.node("Conv", [x, b.constant(weight([32, 64, 1, 1]))], {}, { name: "layer" }),
  },
};

/** The model around a layer: input "x", output "y". */
export function modelOf({ dims, make }: Layered): Model {
  const b = new ModelBuilder({ opset: 21 });
  const x = b.input("x", "f32", [...dims]);
  return b.output(make(b, x), "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

/** Inputs with a mean and correlated neighbours. */
export function feedsOf(dims: readonly number[]): Map<string, Dense>[] {
  return [11, 12, 13].map((seed) => {
    const x = normal(dims, seed);
    for (let i = 1; i < x.length; i++) x[i] = 0.6 * x[i - 1]! + 0.7 * x[i]! + 0.3;
    return new Map([["x", denseFrom("f32", dims, x)]]);
  });
}
