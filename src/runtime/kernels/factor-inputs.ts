import type { Dense } from "../../ir/evaluator.ts";
import type { Tensor } from "../../ir/tensor.ts";
import type { Weighing } from "../../numeric/factorize/weighing.ts";
import { type Matrix, matrix } from "../../numeric/linalg/gemm.ts";
import { centred } from "../../numeric/quantize/bias.ts";
import { firstNonFinite } from "../../numeric/quantize/grid.ts";
import { asF32, elementsOf, encodeFloat } from "./elements.ts";
import type { KernelType } from "./kernel.ts";
import { finiteWeights } from "./quantize.ts";

/** How weights lie: `KN` is [in, out] as MatMul has it, `NK` [out, in], `conv` [out, channels, height, width]. */
export type Form = "KN" | "NK" | "conv";

/** What is known of the inputs that weights are factored for. */
export interface FactorStatistics {
  /** f64 [in, in], or [channels, channels] for convolutions whose taps count alike. */
  readonly gram: Tensor;
  /** f64 [in]: set when the biases of all layers take up what the mean of their output changes by. */
  readonly mean: Tensor | null;
}

/** Parameters that kernels of stacked weights share. */
export type FactorParams = {
  readonly form: Form;
  /** Weights in front of the statistics. */
  readonly weights: number;
  readonly gram: boolean;
  readonly mean: boolean;
  /** Share of the mean diagonal added to the Gram matrix. */
  readonly damp: number;
};

/** Outputs and inputs of a weight. */
export function sidesOf(
  dims: readonly number[],
  form: Form,
): { readonly rows: number; readonly columns: number } {
  const size = dims.reduce((a, b) => a * b, 1);
  const rows = form === "KN" ? dims[1]! : dims[0]!;
  return { rows, columns: size / rows };
}

/** Weights that see the same inputs, stacked with a row per output. */
export interface Stack {
  readonly matrix: Matrix;
  readonly data: Float32Array;
  /** Rows of each weight. */
  readonly parts: readonly number[];
  readonly columns: number;
  readonly weighing: Weighing | null;
  /** f64 [columns]; `null` without a correction. */
  readonly mean: Float64Array | null;
  /** Channels under each tap, when columns are ordered tap first; 1 otherwise. */
  readonly taps: number;
}

/** [rows, a, b] → [rows, b, a], and back with `a` and `b` exchanged. */
export function swapInner<T extends Float32Array | Float64Array>(x: T, a: number, b: number): T {
  const out = x.slice() as T;
  for (let base = 0; base < x.length; base += a * b)
    for (let i = 0; i < a; i++) for (let j = 0; j < b; j++) out[base + j * a + i] = x[base + i * b + j]!;
  return out;
}

function transposedFloats(x: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(x.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = x[r * columns + c]!;
  return out;
}

/** Reads the inputs of a kernel. */
export function stackOf(kernel: string, p: FactorParams, inputs: readonly Dense[]): Stack {
  const weights = inputs.slice(0, p.weights);
  const parts = weights.map((w) => sidesOf(w.dims, p.form).rows);
  const { columns } = sidesOf(weights[0]!.dims, p.form);
  const data = new Float32Array(parts.reduce((a, b) => a + b, 0) * columns);
  let at = 0;
  for (const [i, w] of weights.entries()) {
    const x = finiteWeights(kernel, w);
    data.set(p.form === "KN" ? transposedFloats(x, columns, parts[i]!) : x, at);
    at += x.length;
  }
  const doubles = (i: number): Float64Array => elementsOf(inputs[p.weights + i]!) as Float64Array;
  const gram = p.gram ? doubles(0) : null;
  const mean = p.mean ? doubles(1) : null;
  const size = gram === null ? columns : Math.round(Math.sqrt(gram.length));
  const taps = columns / size;
  const ordered = taps === 1 ? data : swapInner(data, size, taps);
  return {
    matrix: matrix(ordered, ordered.length / columns, columns),
    data: ordered,
    parts,
    columns,
    weighing: gram === null ? null : { gram: mean === null ? gram : centred(gram, mean), size },
    mean,
    taps,
  };
}

/** Factors in the type they are stored in; one that is not finite is a bug, or beyond the range of half precision. */
export function encodeFactor(kernel: string, x: ArrayLike<number>, type: KernelType): Dense {
  const made = Float32Array.from(x);
  const stored = { ...type, bytes: encodeFloat(type.dtype, made) };
  if (firstNonFinite(asF32(stored)) >= 0) throw new Error(`${kernel} made a factor that is not finite`);
  return stored;
}

/** Bytes that reading the inputs takes at once, and a float64 copy of everything. */
export function stackScratch(p: FactorParams, inputs: readonly KernelType[]): number {
  const { rows, columns } = inputs
    .slice(0, p.weights)
    .map((t) => sidesOf(t.dims, p.form))
    .reduce((a, b) => ({ rows: a.rows + b.rows, columns: b.columns }));
  const gram = p.gram ? inputs[p.weights]!.dims[0]! : 0;
  return (
    4 * 3 * rows * columns + 8 * (4 * rows * columns + 4 * gram * gram + 3 * Math.min(rows, columns) ** 2)
  );
}
