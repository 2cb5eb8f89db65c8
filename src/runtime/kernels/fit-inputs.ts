import type { Dense } from "../../ir/evaluator.ts";
import { transposed } from "../../numeric/linalg/product.ts";
import { biasCorrection, centred } from "../../numeric/quantize/bias.ts";
import type { LayerError } from "../../numeric/quantize/error.ts";
import type { BlockProblem } from "../../numeric/quantize/problem.ts";
import { bytesOf, elementsOf } from "./elements.ts";
import { finiteWeights } from "./quantize.ts";

/** Which way a matrix lies: `KN` is [in, out] as MatMul has it, `NK` [out, in]. */
export type Order = "KN" | "NK";

/** What kernels that look at a layer's inputs are told about their own. */
export type FitInputs = {
  readonly order: Order;
  /** Whether a Gram matrix f64 [in, in] and a mean f64 [in] follow the weight. */
  readonly gram: boolean;
  readonly mean: boolean;
};

/** Outputs and inputs of a matrix. */
export function sizesOf(dims: readonly number[], order: Order): { rows: number; columns: number } {
  const [a, b] = dims as [number, number];
  return order === "KN" ? { rows: b, columns: a } : { rows: a, columns: b };
}

/** The weight with a row per output, and the Gram matrix that counts its errors: centred where a bias takes the mean. */
export function problemParts(kernel: string, p: FitInputs, inputs: readonly Dense[]) {
  const [x, ...data] = inputs as [Dense, ...Dense[]];
  const { rows, columns } = sizesOf(x.dims, p.order);
  const w = Float64Array.from(finiteWeights(kernel, x));
  const doubles = data.map((d) => elementsOf(d) as Float64Array);
  const gram = p.gram ? doubles[0]! : null;
  const mean = p.mean ? doubles[1]! : null;
  const parts: Pick<BlockProblem, "weights" | "rows" | "columns" | "gram"> = {
    weights: p.order === "KN" ? transposed(w, columns, rows) : w,
    rows,
    columns,
    gram: gram !== null && mean !== null ? centred(gram, mean) : gram,
  };
  return { parts, mean };
}

/** A row-major `rows` × `columns` array in the order of the matrix. */
export function laid(x: ArrayLike<number>, rows: number, columns: number, order: Order): Float32Array {
  const f = Float64Array.from(x);
  return Float32Array.from(order === "KN" ? transposed(f, rows, columns) : f);
}

/** The last outputs of a fit: what the bias gains (f32 [out], with a mean only), and figures (f64 [4]). */
export function conclusions(
  weights: Float64Array,
  found: { readonly approximation: Float64Array; readonly error: LayerError },
  mean: Float64Array | null,
): Uint8Array[] {
  const { approximation, error } = found;
  let noise = 0;
  let signal = 0;
  for (let i = 0; i < weights.length; i++) {
    noise += (weights[i]! - approximation[i]!) ** 2;
    signal += weights[i]! ** 2;
  }
  const figures = bytesOf(Float64Array.of(error.noise, error.signal, noise, signal));
  if (mean === null) return [figures];
  return [bytesOf(Float32Array.from(biasCorrection(weights, approximation, mean))), figures];
}
