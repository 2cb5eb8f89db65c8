import { roundF16 } from "../f16.ts";
import { type LayerError, layerError } from "./error.ts";
import { errorFeedback, type FactorOptions, factorGram } from "./feedback.ts";
import { roundScale } from "./grid.ts";
import { weightedPalette } from "./palette.ts";
import type { BlockProblem } from "./problem.ts";
import { importanceOf } from "./weighted.ts";

/** A weight as entries of one codebook, each row with a scale: ŵ = codebook[index] · scale. */
export interface FittedPalette {
  /** Ascending, in half precision. */
  readonly codebook: Float32Array;
  /** `rows` × `columns`. */
  readonly indices: Uint8Array;
  /** One per row, in half precision. */
  readonly scale: Float32Array;
  readonly approximation: Float64Array;
  readonly error: LayerError;
}

/** Values from which on a codebook is made of the means of this many narrow bins. */
const MANY = 1 << 16;
const BINS = 1 << 13;

/** Weighted means and weights of narrow bins over the range of the values. */
function binned(x: Float64Array, weight: Float64Array): { x: Float64Array; weight: Float64Array } {
  let [min, max] = [x[0]!, x[0]!];
  for (const v of x) {
    if (v < min) min = v;
    if (v > max) max = v;
  }
  const sums = new Float64Array(BINS);
  const weights = new Float64Array(BINS);
  const unit = max > min ? BINS / (max - min) : 0;
  for (let i = 0; i < x.length; i++) {
    const b = Math.min(BINS - 1, Math.floor((x[i]! - min) * unit));
    sums[b]! += weight[i]! * x[i]!;
    weights[b]! += weight[i]!;
  }
  const full = Array.from(weights.keys()).filter((b) => weights[b]! > 0);
  return {
    x: Float64Array.from(full, (b) => sums[b]! / weights[b]!),
    weight: Float64Array.from(full, (b) => weights[b]!),
  };
}

/** Index of the entry nearest to a value; the lower one of two. */
function nearestEntry(codebook: Float32Array, v: number): number {
  let lo = 0;
  let hi = codebook.length - 1;
  while (hi - lo > 1) {
    const middle = (lo + hi) >> 1;
    if (codebook[middle]! <= v) lo = middle;
    else hi = middle;
  }
  return v - codebook[lo]! <= codebook[hi]! - v ? lo : hi;
}

/**
 * Weights clustered into `size` values (Han et al., arXiv:1510.00149): rows are scaled to unit size, one codebook is
 * made for all of them with the diagonal of the Gram matrix as weights, and entries are chosen with error feedback.
 * Without a Gram matrix every weight takes the nearest entry.
 */
export function fitPalette(p: BlockProblem, size: number, options: FactorOptions): FittedPalette {
  const { rows, columns, weights } = p;
  const importance = importanceOf(p);
  const scale = new Float32Array(rows);
  const unit = new Float64Array(rows * columns);
  const weight = new Float64Array(rows * columns);
  for (let r = 0; r < rows; r++) {
    const at = r * columns;
    let sum = 0;
    for (let i = 0; i < columns; i++) sum += weights[at + i]! ** 2;
    const s = sum > 0 ? roundScale(Math.sqrt(sum / columns), "f16") : 1;
    scale[r] = s;
    for (let i = 0; i < columns; i++) {
      unit[at + i] = weights[at + i]! / s;
      weight[at + i] = s * s * importance[i]!;
    }
  }
  const values = unit.length > MANY ? binned(unit, weight) : { x: unit, weight };
  const codebook = Float32Array.from(weightedPalette(values.x, values.weight, size).codebook, roundF16);
  const indices = new Uint8Array(rows * columns);
  const approximation = new Float64Array(rows * columns);
  const choose = (r: number, column: number, target: number): number => {
    const at = r * columns + column;
    const index = nearestEntry(codebook, target / scale[r]!);
    indices[at] = index;
    approximation[at] = Math.fround(codebook[index]! * scale[r]!);
    return approximation[at]!;
  };
  if (p.gram === null)
    for (let i = 0; i < weights.length; i++) choose(Math.floor(i / columns), i % columns, weights[i]!);
  else {
    const factored = factorGram(p.gram, columns, options);
    errorFeedback(p, factored, { choose: (_s, r, _j, column, target) => choose(r, column, target) });
  }
  return { codebook, indices, scale, approximation, error: layerError(weights, approximation, p) };
}
