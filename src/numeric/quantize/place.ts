import { type Grid, roundScale, type ScaleType } from "./grid.ts";

/** Adding and subtracting 1.5·2^52 rounds a double to the nearest integer, ties to even, up to 2^51. */
export const ROUND = 6755399441055744;

/** Scale and zero point of one row. */
export interface Fit {
  scale: number;
  zero: number;
}

/** A scale for a range that cannot be told from zero: everything becomes the zero point. */
const EMPTY_SCALE = 1;

/** Scale and zero point that just cover [min, max], which holds 0. */
export function place(fit: Fit, min: number, max: number, grid: Grid, type: ScaleType): void {
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
