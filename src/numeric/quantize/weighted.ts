import type { QuantizeOptions } from "./grid.ts";
import { type Fit, place, ROUND } from "./place.ts";
import { type BlockFit, type BlockProblem, blocksOf, emptyFit, nearest } from "./problem.ts";

/** Σ importance·(x - x̂)² of a block on a grid placed so; gives up above `limit`. */
function error(
  x: Float64Array,
  importance: Float64Array,
  n: number,
  fit: Fit,
  lo: number,
  hi: number,
  limit: number,
): number {
  const inverse = 1 / fit.scale;
  const unit = fit.scale * fit.scale;
  const stop = limit / unit;
  let sum = 0;
  for (let i = 0; i < n; i++) {
    const v = x[i]! * inverse;
    let q = v + ROUND - ROUND;
    if (q < lo) q = lo;
    else if (q > hi) q = hi;
    const d = v - q;
    sum += importance[i]! * d * d;
    if (sum > stop) return Number.POSITIVE_INFINITY;
  }
  return sum * unit;
}

/**
 * Scale and zero point of `n` values with the least error weighted by `importance`, among ranges shrunk in steps of a
 * hundredth (the range search of BRECQ, arXiv:2102.05426, with the diagonal of the Gram matrix as weights). Without a
 * search the full range. The range always holds 0.
 */
export function fitWeighted(
  fit: Fit,
  x: Float64Array,
  importance: Float64Array,
  n: number,
  options: QuantizeOptions,
): void {
  const { grid, search, scaleType } = options;
  let min = 0;
  let max = 0;
  for (let i = 0; i < n; i++) {
    if (x[i]! < min) min = x[i]!;
    if (x[i]! > max) max = x[i]!;
  }
  place(fit, min, max, grid, scaleType);
  if (search === null || min === max) return;
  const trial: Fit = { scale: 1, zero: 0 };
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < search.steps; i++) {
    const shrink = 1 - i / 100;
    place(trial, min * shrink, max * shrink, grid, scaleType);
    const e = error(x, importance, n, trial, grid.lo - trial.zero, grid.hi - trial.zero, best);
    if (e < best) {
      best = e;
      fit.scale = trial.scale;
      fit.zero = trial.zero;
    }
  }
}

/** How much each input counts: the diagonal of the Gram matrix, or 1. Inputs that are never there count a little. */
export function importanceOf(p: BlockProblem): Float64Array {
  const { gram, columns } = p;
  if (gram === null) return new Float64Array(columns).fill(1);
  const diagonal = Float64Array.from({ length: columns }, (_, i) => Math.max(0, gram[i * columns + i]!));
  const floor = (diagonal.reduce((s, v) => s + v, 0) / columns) * 1e-6;
  return diagonal.map((v) => Math.max(v, floor, Number.MIN_VALUE));
}

/** Round to nearest on the data-aware grid of every block. */
export function fitNearest(p: BlockProblem): BlockFit {
  const { rows, columns, block, weights, options } = p;
  const out = emptyFit(p);
  const blocks = blocksOf(p);
  const importance = importanceOf(p);
  const fit: Fit = { scale: 1, zero: 0 };
  for (let b = 0; b < blocks; b++) {
    const from = b * block;
    const n = Math.min(columns, from + block) - from;
    const weight = importance.subarray(from, from + n);
    for (let r = 0; r < rows; r++) {
      const at = r * columns + from;
      fitWeighted(fit, weights.subarray(at, at + n), weight, n, options);
      out.scale[r * blocks + b] = fit.scale;
      out.zero[r * blocks + b] = fit.zero;
      for (let i = at; i < at + n; i++) out.q[i] = nearest(weights[i]!, fit.scale, fit.zero, options.grid);
    }
  }
  return out;
}
