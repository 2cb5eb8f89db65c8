import { addProduct, product, quadraticForm, viewOf } from "../linalg/product.ts";
import { solveRows, solveRowsUpper } from "../linalg/triangular.ts";
import { columns, dampedFactor, type Repaired } from "./repair.ts";

/** Second moments of a layer's inputs in two networks at equal positions: x̂ in the one at hand, x in the original. */
export interface AcrossMoments {
  /** E[x̂ x̂ᵀ], `size` × `size`. */
  readonly own: Float64Array;
  /** E[x̂ xᵀ], `size` × `width`. */
  readonly cross: Float64Array;
  /** E[x xᵀ], `width` × `width`. */
  readonly original: Float64Array;
  readonly ownMean: Float64Array;
  readonly originalMean: Float64Array;
}

/** A layer in both networks. */
export interface AcrossReader {
  readonly rows: number;
  /** Weights as they are, `rows` × `size`. */
  readonly weights: Float64Array;
  readonly size: number;
  /** Weights of the original, `rows` × `width`. */
  readonly original: Float64Array;
  readonly width: number;
  readonly moments: AcrossMoments;
  /** Whether a bias can take up a change of the output's mean. */
  readonly biased: boolean;
}

function outer(m: Float64Array, a: Float64Array, b: Float64Array): Float64Array {
  const out = m.slice();
  for (const [i, x] of a.entries())
    for (const [j, y] of b.entries()) out[i * b.length + j] = out[i * b.length + j]! - x * y;
  return out;
}

/** Moments about the means where a bias follows them. */
function centred({ moments: m, biased }: AcrossReader): Pick<AcrossMoments, "own" | "cross" | "original"> {
  if (!biased) return m;
  return {
    own: outer(m.own, m.ownMean, m.ownMean),
    cross: outer(m.cross, m.ownMean, m.originalMean),
    original: outer(m.original, m.originalMean, m.originalMean),
  };
}

/** a·v per row. */
function times(a: Float64Array, v: Float64Array): Float64Array {
  return Float64Array.from({ length: a.length / v.length }, (_, r) =>
    v.reduce((sum, x, i) => sum + a[r * v.length + i]! * x, 0),
  );
}

/** E[Wx x̂ᵀ], `rows` × `size`. */
function targets(reader: AcrossReader, cross: Float64Array): Float64Array {
  const { rows, width, size, original } = reader;
  return product(viewOf(original, rows, width), viewOf(cross, size, width));
}

function inner(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, x, i) => sum + x * b[i]!, 0);
}

/** E‖Wx‖², about the mean where the bias follows. */
export function signalAcross(reader: AcrossReader): number {
  return quadraticForm(reader.original, reader.rows, centred(reader).original, reader.width);
}

/**
 * E‖Wx - W′x̂ - shift‖², summed over outputs: the error against the original of a layer with other weights, `rows` ×
 * `size`, and a bias that has gained `shift`.
 */
export function errorAcross(reader: AcrossReader, weights: Float64Array, shift: Float64Array | null): number {
  const { rows, size, width, original, moments: m } = reader;
  const plain =
    quadraticForm(original, rows, m.original, width) -
    2 * inner(weights, targets(reader, m.cross)) +
    quadraticForm(weights, rows, m.own, size);
  if (shift === null) return Math.max(0, plain);
  const [a, b] = [times(original, m.originalMean), times(weights, m.ownMean)];
  const moved = shift.reduce((sum, s, r) => sum + s * (s - 2 * (a[r]! - b[r]!)), 0);
  return Math.max(0, plain + moved);
}

/**
 * The weights of the kept inputs whose output on what a compressed prefix leaves of them comes closest to the original's:
 * W′ = E[Wx x̂ᵀ][:,K]·(E[x̂x̂ᵀ][K,K] + λ)⁻¹, about the means where the bias takes up the rest. `damp` is λ as a share of
 * the mean diagonal; it pulls towards the weights as they are.
 */
export function repairAcross(reader: AcrossReader, keep: Int32Array, damp: number): Repaired {
  const { rows, size } = reader;
  const n = keep.length;
  const { own, cross } = centred(reader);
  const kept = columns(reader.weights, rows, size, keep);
  const toKept = columns(own, size, size, keep);
  const among = new Float64Array(n * n);
  for (const [i, k] of keep.entries()) among.set(toKept.subarray(k * n, (k + 1) * n), i * n);
  // What the weights as they are do not reach is fitted, so that damping pulls towards no change.
  const change = columns(targets(reader, cross), rows, size, keep);
  addProduct(viewOf(change, rows, n), -1, viewOf(kept, rows, n), viewOf(among, n, n));
  const factor = dampedFactor(among, n, damp);
  solveRows(factor, n, change, rows);
  solveRowsUpper(factor, n, change, rows);
  const weights = new Float64Array(rows * size);
  for (let r = 0; r < rows; r++)
    for (const [i, k] of keep.entries()) weights[r * size + k] = kept[r * n + i]! + change[r * n + i]!;
  return concludeAcross(reader, weights);
}

/** Weights with the bias that follows their mean, and their error. */
function concludeAcross(reader: AcrossReader, weights: Float64Array): Repaired {
  const { moments: m, biased, original } = reader;
  const lost = times(weights, m.ownMean);
  const correction = biased ? times(original, m.originalMean).map((a, r) => a - lost[r]!) : null;
  return { weights, correction, noise: errorAcross(reader, weights, correction) };
}
