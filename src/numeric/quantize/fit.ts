import { type Grid, type QuantizeOptions, type RangeSearch, roundScale, type ScaleType } from "./grid.ts";

/** Adding and subtracting 1.5·2^52 rounds a double to the nearest integer, ties to even, up to 2^51. */
const ROUND = 6755399441055744;

/** Elements between two looks at whether a candidate has already lost. */
const CHECK = 256;

/** |e|^2.4 for a rounding error e in [0, 1/2], at steps of 1/8192: the relative error is below 3e-4 where it matters. */
const POWER_STEPS = 8192;
const power24 = new Float64Array(POWER_STEPS / 2 + 2);
for (let i = 0; i < power24.length; i++) power24[i] = (i / POWER_STEPS) ** 2.4;

/** Scale and zero point of one row. */
export interface Fit {
  scale: number;
  zero: number;
}

/** A scale for a range that cannot be told from zero: everything becomes the zero point. */
const EMPTY_SCALE = 1;

function place(fit: Fit, min: number, max: number, grid: Grid, type: ScaleType): void {
  if (grid.zero !== null) {
    const up = max / (grid.hi - grid.zero);
    const down = -min / (grid.zero - grid.lo);
    const range = Math.max(up, down);
    fit.scale = range > 0 ? roundScale(range, type) : EMPTY_SCALE;
    fit.zero = grid.zero;
    return;
  }
  const range = max - min;
  fit.scale = range > 0 ? roundScale(range / (grid.hi - grid.lo), type) : EMPTY_SCALE;
  const zero = grid.lo - min / fit.scale + ROUND - ROUND;
  fit.zero = Math.min(grid.hi, Math.max(grid.lo, zero));
}

/** Σ |x/s - q|^p over x[start, end) times s^p, or something ≥ `best` as soon as that is certain. */
function error(
  x: Float32Array,
  start: number,
  end: number,
  fit: Fit,
  grid: Grid,
  power: 2 | 2.4,
  best: number,
): number {
  const inverse = 1 / fit.scale;
  const lo = grid.lo - fit.zero;
  const hi = grid.hi - fit.zero;
  const unit = fit.scale ** power;
  let sum = 0;
  for (let at = start; at < end; at += CHECK) {
    const stop = Math.min(end, at + CHECK);
    if (power === 2) {
      for (let i = at; i < stop; i++) {
        const v = x[i]! * inverse;
        let q = v + ROUND - ROUND;
        if (q < lo) q = lo;
        else if (q > hi) q = hi;
        const d = v - q;
        sum += d * d;
      }
    } else {
      for (let i = at; i < stop; i++) {
        const v = x[i]! * inverse;
        let q = v + ROUND - ROUND;
        if (q < lo) q = lo;
        else if (q > hi) q = hi;
        const d = v > q ? v - q : q - v;
        sum += d <= 0.5 ? power24[(d * POWER_STEPS + 0.5) | 0]! : d ** 2.4;
      }
    }
    if (sum * unit >= best) return sum * unit;
  }
  return sum * unit;
}

function search(
  fit: Fit,
  x: Float32Array,
  start: number,
  end: number,
  range: { readonly min: number; readonly max: number },
  options: QuantizeOptions,
  s: RangeSearch,
): void {
  const { grid, scaleType } = options;
  const trial: Fit = { scale: 0, zero: 0 };
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < s.steps; i++) {
    const shrink = 1 - i / 100;
    place(trial, range.min * shrink, range.max * shrink, grid, scaleType);
    const e = error(x, start, end, trial, grid, s.power, best);
    if (e < best) {
      best = e;
      fit.scale = trial.scale;
      fit.zero = trial.zero;
    }
  }
}

/** Chooses scale and zero point for x[start, end). The range always holds 0, so that 0 stays exactly 0. */
export function fitRow(
  fit: Fit,
  x: Float32Array,
  start: number,
  end: number,
  options: QuantizeOptions,
): void {
  let min = 0;
  let max = 0;
  for (let i = start; i < end; i++) {
    const v = x[i]!;
    if (v < min) min = v;
    if (v > max) max = v;
  }
  if (options.search === null || min === max) place(fit, min, max, options.grid, options.scaleType);
  else search(fit, x, start, end, { min, max }, options, options.search);
}

/** q[at + i] = clamp(round(x[start + i] / scale) + zero), ties to even. */
export function quantizeRow(
  x: Float32Array,
  start: number,
  end: number,
  fit: Fit,
  grid: Grid,
  q: Int8Array | Uint8Array,
  at: number,
): void {
  const { scale } = fit;
  const lo = grid.lo - fit.zero;
  const hi = grid.hi - fit.zero;
  const { zero } = fit;
  const shift = at - start;
  for (let i = start; i < end; i++) {
    let v = x[i]! / scale + ROUND - ROUND;
    if (v < lo) v = lo;
    else if (v > hi) v = hi;
    q[i + shift] = v + zero;
  }
}
