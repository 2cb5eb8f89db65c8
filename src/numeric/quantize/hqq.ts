import { type Fit, place } from "./place.ts";
import { type BlockFit, type BlockProblem, blocksOf, emptyFit, nearest } from "./problem.ts";

/** Settings of {@link hqq}; the defaults are those of the reference code. */
export interface HqqOptions {
  /** Norm of the error that is minimised, below 1 so that outliers count little. Default 0.7. */
  readonly p?: number;
  /** Weight of the quadratic term. Default 10, growing by 1 % a pass. */
  readonly beta?: number;
  /** Most passes over a block. Default 20. */
  readonly passes?: number;
}

/** A fit and what storing its zero points as integers cost. */
export interface HqqFit {
  readonly fit: BlockFit;
  /** Zero points as the method found them, `rows` × blocks. */
  readonly floatZero: Float64Array;
  /** Σ (w - ŵ)² with those, and as stored. */
  readonly floatNoise: number;
  readonly noise: number;
}

/** sign(x)·max(0, |x| - |x|^(p-1) / beta): the proximal step of the p-norm. */
function shrink(x: number, p: number, beta: number): number {
  const a = Math.abs(x);
  if (a === 0) return 0;
  return Math.sign(x) * Math.max(0, a - a ** (p - 1) / beta);
}

const free = (x: number, lo: number, hi: number): number => Math.min(hi, Math.max(lo, Math.round(x)));

/** Half-quadratic splitting on one block with its scale kept; returns the zero point with the least mean error. */
function splitting(
  x: Float64Array,
  start: Fit,
  bounds: { readonly lo: number; readonly hi: number },
  o: Required<HqqOptions>,
): number {
  const { lo, hi } = bounds;
  const { scale } = start;
  let zero = start.zero;
  let bestZero = zero;
  let best = Number.POSITIVE_INFINITY;
  let beta = o.beta;
  for (let pass = 0; pass < o.passes; pass++) {
    let error = 0;
    let sum = 0;
    for (const w of x) {
      const q = free(w / scale + zero, lo, hi);
      const e = w - (q - zero) * scale;
      error += Math.abs(e);
      sum += q - (w - shrink(e, o.p, beta)) / scale;
    }
    if (error >= best) break;
    best = error;
    bestZero = zero;
    zero = sum / x.length;
    beta *= 1.01;
  }
  return bestZero;
}

function noiseOf(x: Float64Array, scale: number, zero: number, lo: number, hi: number): number {
  let sum = 0;
  for (const w of x) sum += (w - (free(w / scale + zero, lo, hi) - zero) * scale) ** 2;
  return sum;
}

/**
 * HQQ (Badri and Shaji 2023, "Half-Quadratic Quantization"): zero points by half-quadratic splitting on the p-norm of
 * the weight error, no data. The method's zero points are floats; what can be stored are the integers next to them, each
 * with the scale that then fits best, and the result says what that costs. Symmetric grids leave it nothing to choose:
 * they are refused as a bug of the caller.
 */
export function hqq(p: BlockProblem, options: HqqOptions = {}): HqqFit {
  const { rows, columns, block, weights } = p;
  const { grid, scaleType } = p.options;
  if (grid.zero !== null) throw new Error("HQQ chooses zero points; the grid has a fixed one");
  const o = { p: options.p ?? 0.7, beta: options.beta ?? 10, passes: options.passes ?? 20 };
  const fit = emptyFit(p);
  const blocks = blocksOf(p);
  const floatZero = new Float64Array(rows * blocks);
  const start: Fit = { scale: 1, zero: 0 };
  let floatNoise = 0;
  let noise = 0;
  for (let r = 0; r < rows; r++)
    for (let b = 0; b < blocks; b++) {
      const g = r * blocks + b;
      const at = r * columns + b * block;
      const x = weights.subarray(at, r * columns + Math.min(columns, (b + 1) * block));
      let min = 0;
      let max = 0;
      for (const w of x) {
        if (w < min) min = w;
        if (w > max) max = w;
      }
      place(start, min, max, grid, scaleType);
      const zero = splitting(x, start, grid, o);
      floatZero[g] = zero;
      floatNoise += noiseOf(x, start.scale, zero, grid.lo, grid.hi);
      const stored = free(zero, grid.lo, grid.hi);
      noise += noiseOf(x, start.scale, stored, grid.lo, grid.hi);
      fit.scale[g] = start.scale;
      fit.zero[g] = stored;
      for (let i = 0; i < x.length; i++) fit.q[at + i] = nearest(x[i]!, start.scale, stored, grid);
    }
  return { fit, floatZero, floatNoise, noise };
}
