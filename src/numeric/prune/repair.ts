import { cholesky } from "../linalg/cholesky.ts";
import { part, product, quadraticForm, viewOf } from "../linalg/product.ts";
import { solveRows, solveRowsUpper } from "../linalg/triangular.ts";

/** A layer that will read fewer inputs. */
export interface Reader {
  /** `rows` × `size`, row-major: outputs by inputs. */
  readonly weights: Float64Array;
  readonly rows: number;
  readonly size: number;
  /** E[x xᵀ] of the inputs, `size` × `size`. */
  readonly gram: Float64Array;
  /** E[x], when the layer's bias can take up a change of the output's mean. */
  readonly mean: Float64Array | null;
}

/** What a reader becomes. */
export interface Repaired {
  /** `rows` × `size`, zeros where inputs were removed. */
  readonly weights: Float64Array;
  /** What the bias gains; `null` without a mean. */
  readonly correction: Float64Array | null;
  /** E‖error of the output‖², summed over outputs, as the Gram matrix predicts it. */
  readonly noise: number;
}

/** E[(x - E x)(x - E x)ᵀ] where the bias follows the mean, else E[x xᵀ]. */
export function secondMoments({ gram, mean, size }: Reader): Float64Array {
  if (mean === null) return gram;
  const out = gram.slice();
  for (let i = 0; i < size; i++)
    for (let j = 0; j < size; j++) out[i * size + j] = out[i * size + j]! - mean[i]! * mean[j]!;
  return out;
}

/** Lower factor of a symmetric matrix with `share` of its mean diagonal added, ten times as often as it takes. */
export function dampedFactor(h: Float64Array, n: number, share: number): Float64Array {
  let mean = 0;
  for (let i = 0; i < n; i++) mean += Math.max(0, h[i * n + i]!) / n;
  for (let add = share; ; add *= 10) {
    const a = h.slice();
    for (let i = 0; i < n; i++) a[i * n + i] = a[i * n + i]! + (mean > 0 ? add * mean : 1);
    const factor = cholesky(a, n);
    if (factor !== null) return factor;
  }
}

/** Some columns of a matrix, in order. */
export function columns(a: Float64Array, rows: number, size: number, keep: Int32Array): Float64Array {
  const out = new Float64Array(rows * keep.length);
  for (let r = 0; r < rows; r++)
    for (const [i, k] of keep.entries()) out[r * keep.length + i] = a[r * size + k]!;
  return out;
}

function conclude(reader: Reader, moments: Float64Array, weights: Float64Array): Repaired {
  const { rows, size, mean } = reader;
  const lost = Float64Array.from(reader.weights, (w, i) => w - weights[i]!);
  const correction =
    mean === null
      ? null
      : Float64Array.from({ length: rows }, (_, r) => {
          let sum = 0;
          for (let i = 0; i < size; i++) sum += lost[r * size + i]! * mean[i]!;
          return sum;
        });
  return { weights, correction, noise: Math.max(0, quadraticForm(lost, rows, moments, size)) };
}

/** The reader without the removed inputs, its other weights as they were; with a mean its bias still follows. */
export function cutColumns(reader: Reader, keep: Int32Array): Repaired {
  const { rows, size } = reader;
  const weights = new Float64Array(rows * size);
  for (let r = 0; r < rows; r++) for (const k of keep) weights[r * size + k] = reader.weights[r * size + k]!;
  return conclude(reader, secondMoments(reader), weights);
}

/**
 * The weights of the kept inputs that come closest to the output of all: W′ = W·G[:,K]·(G[K,K] + λ)⁻¹, with moments about
 * the mean where the bias takes up the rest. `damp` is λ as a share of the mean diagonal of G[K,K].
 */
export function repairColumns(reader: Reader, keep: Int32Array, damp: number): Repaired {
  const { rows, size } = reader;
  const n = keep.length;
  const moments = secondMoments(reader);
  const toKept = columns(moments, size, size, keep);
  const among = Float64Array.from(
    { length: n * n },
    (_, i) => toKept[keep[Math.floor(i / n)]! * n + (i % n)]!,
  );
  // What the kept weights do not explain by themselves is fitted, so that damping pulls towards no change.
  const gone = reader.weights.slice();
  for (let r = 0; r < rows; r++) for (const k of keep) gone[r * size + k] = 0;
  const right = Float64Array.from(
    { length: n * size },
    (_, i) => toKept[(i % size) * n + Math.floor(i / size)]!,
  );
  const change = product(viewOf(gone, rows, size), part(viewOf(right, n, size), 0, n, 0, size));
  const factor = dampedFactor(among, n, damp);
  solveRows(factor, n, change, rows);
  solveRowsUpper(factor, n, change, rows);
  const weights = new Float64Array(rows * size);
  for (let r = 0; r < rows; r++)
    for (const [i, k] of keep.entries())
      weights[r * size + k] = reader.weights[r * size + k]! + change[r * n + i]!;
  return conclude(reader, moments, weights);
}
