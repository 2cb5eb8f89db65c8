import type { QuantizeOptions, RangeSearch } from "./grid.ts";
import { type Fit, place, ROUND } from "./place.ts";

/** Elements between two looks at whether a candidate has already lost. */
const CHECK = 32;

/** |e|^2.4 for a rounding error e in [0, 1/2], nearest of 1/8192: the relative error is below 3e-4 where it matters. */
const FINE = 8192;
const rounding24 = new Float64Array(FINE / 2 + 2);
for (let i = 0; i < rounding24.length; i++) rounding24[i] = (i / FINE) ** 2.4;

/** |e|^2.4 for a clipping error e in (1/2, 64), interpolated between multiples of 1/64: relative error below 5e-4. */
const COARSE = 64;
const COARSE_END = 64;
const clipping24 = new Float64Array(COARSE * COARSE_END + 2);
for (let i = 0; i < clipping24.length; i++) clipping24[i] = (i / COARSE) ** 2.4;

/** e^2.4 for e ≥ 0. */
function power24(e: number): number {
  if (e <= 0.5) return rounding24[(e * FINE + 0.5) | 0]!;
  if (e >= COARSE_END) return e ** 2.4;
  const at = e * COARSE;
  const i = at | 0;
  const low = clipping24[i]!;
  return low + (clipping24[i + 1]! - low) * (at - i);
}

function power(e: number, p: 2 | 2.4): number {
  return p === 2 ? e * e : power24(e);
}

/** Where a candidate range is judged: scale, the lowest and highest integer around its zero, and when to give up. */
interface Trial extends Fit {
  lo: number;
  hi: number;
  limit: number;
}

/** Σ (x/s - q)² over x[start, end), or something above the limit as soon as that is certain. */
function squareError(x: Float32Array, start: number, end: number, t: Trial): number {
  const { lo, hi, limit } = t;
  const inverse = 1 / t.scale;
  let sum = 0;
  for (let at = start; at < end; ) {
    const stop = Math.min(end, at + CHECK);
    for (; at < stop; at++) {
      const v = x[at]! * inverse;
      let q = v + ROUND - ROUND;
      if (q < lo) q = lo;
      else if (q > hi) q = hi;
      const d = v - q;
      sum += d * d;
    }
    if (sum > limit) return sum;
  }
  return sum;
}

/** Σ |x/s - q|^2.4, as {@link squareError}. */
function powerError(x: Float32Array, start: number, end: number, t: Trial): number {
  const { lo, hi, limit } = t;
  const inverse = 1 / t.scale;
  let sum = 0;
  for (let at = start; at < end; ) {
    const stop = Math.min(end, at + CHECK);
    for (; at < stop; at++) {
      const v = x[at]! * inverse;
      let q = v + ROUND - ROUND;
      if (q < lo) q = lo;
      else if (q > hi) q = hi;
      sum += power24(v > q ? v - q : q - v);
    }
    if (sum > limit) return sum;
  }
  return sum;
}

/** Σ count·|mean/s - q|^p over the first `n` bins of the histogram. */
function histogramError(n: number, t: Trial, p: 2 | 2.4): number {
  const { lo, hi } = t;
  const inverse = 1 / t.scale;
  let sum = 0;
  for (let i = 0; i < n; i++) {
    const v = means[i]! * inverse;
    let q = v + ROUND - ROUND;
    if (q < lo) q = lo;
    else if (q > hi) q = hi;
    sum += counts[i]! * power(v > q ? v - q : q - v, p);
  }
  return sum;
}

/** Error of the smallest and the largest element, in the measure of the functions above; only what clipping adds. */
function clipped(min: number, max: number, t: Trial, p: 2 | 2.4): number {
  const over = max / t.scale - t.hi;
  const under = t.lo - min / t.scale;
  return (over > 0 ? power(over, p) : 0) + (under > 0 ? power(under, p) : 0);
}

/** Rows from this length on, for grids of up to 16 values, are searched through a histogram. */
const LONG_ROW = 4096;

/** 128 bins for each of the 16 steps: the error of a bin differs from that of its mean by less than 1e-4 of a step². */
const BINS = 2048;

const means = new Float32Array(BINS);
const counts = new Float64Array(BINS);

/** Means and counts of the bins that are not empty; returns how many. */
function histogram(x: Float32Array, start: number, end: number, min: number, max: number): number {
  const sums = new Float64Array(BINS);
  counts.fill(0);
  const scale = BINS / (max - min);
  for (let i = start; i < end; i++) {
    const b = Math.min(BINS - 1, ((x[i]! - min) * scale) | 0);
    sums[b]! += x[i]!;
    counts[b]!++;
  }
  let n = 0;
  for (let b = 0; b < BINS; b++) {
    if (counts[b] === 0) continue;
    means[n] = sums[b]! / counts[b]!;
    counts[n] = counts[b]!;
    n++;
  }
  return n;
}

/**
 * Shrinks [min, max] step by step and keeps the range whose quantization error Σ|x - xq|^p over x[start, end) is least;
 * ties go to the wider range. Candidates are abandoned as soon as they cannot win, which does not change the result.
 */
export function searchRange(
  fit: Fit,
  x: Float32Array,
  start: number,
  end: number,
  min: number,
  max: number,
  options: QuantizeOptions,
  s: RangeSearch,
): void {
  const { grid, scaleType } = options;
  const p = s.power;
  const bins = end - start >= LONG_ROW && grid.hi - grid.lo < 16 ? histogram(x, start, end, min, max) : 0;
  const trial: Trial = { scale: 0, zero: 0, lo: 0, hi: 0, limit: 0 };
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < s.steps; i++) {
    const shrink = 1 - i / 100;
    place(trial, min * shrink, max * shrink, grid, scaleType);
    const unit = p === 2 ? trial.scale * trial.scale : trial.scale ** p;
    trial.lo = grid.lo - trial.zero;
    trial.hi = grid.hi - trial.zero;
    trial.limit = best / unit;
    // What clipping the two extremes costs grows with every step: once that alone is too much, no later range can win.
    // The margin covers the rounding of zero points and tables.
    if (clipped(min, max, trial, p) > trial.limit * 1.01) return;
    const sum =
      bins > 0
        ? histogramError(bins, trial, p)
        : p === 2
          ? squareError(x, start, end, trial)
          : powerError(x, start, end, trial);
    if (sum * unit < best) {
      best = sum * unit;
      fit.scale = trial.scale;
      fit.zero = trial.zero;
    }
  }
}
