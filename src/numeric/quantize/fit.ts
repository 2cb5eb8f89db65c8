import type { Grid, QuantizeOptions } from "./grid.ts";
import { type Fit, place, ROUND } from "./place.ts";
import { searchRange } from "./search.ts";

/**
 * Elements handled by one call of an inner loop. Calls this short are compiled as whole functions; a loop over a long
 * row would be compiled while it runs, and thrown away again at its end.
 */
const CHUNK = 512;

/** Lowest and highest value so far. */
const range = new Float64Array(2);

function widen(x: Float32Array, start: number, end: number): void {
  let min = range[0]!;
  let max = range[1]!;
  for (let i = start; i < end; i++) {
    const v = x[i]!;
    if (v < min) min = v;
    if (v > max) max = v;
  }
  range[0] = min;
  range[1] = max;
}

/** Chooses scale and zero point for x[start, end). The range always holds 0, so that 0 stays exactly 0. */
export function fitRow(
  fit: Fit,
  x: Float32Array,
  start: number,
  end: number,
  options: QuantizeOptions,
): void {
  range.fill(0);
  for (let at = start; at < end; at += CHUNK) widen(x, at, Math.min(end, at + CHUNK));
  const min = range[0]!;
  const max = range[1]!;
  if (options.search === null || min === max) place(fit, min, max, options.grid, options.scaleType);
  else searchRange(fit, x, start, end, min, max, options, options.search);
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
