import { dot, part, product, viewOf } from "../linalg/product.ts";
import { damped } from "./damped.ts";
import { roundScale } from "./grid.ts";
import { type BlockFit, type BlockProblem, blocksOf, nearest, restored } from "./problem.ts";

/** Settings of {@link refine}. */
export interface RefineOptions {
  /** Share of the mean diagonal added to the Gram matrix. */
  readonly damp: number;
  /** Passes over all integers and scales; it ends earlier when nothing changes. */
  readonly rounds: number;
}

/** Rows worked on together: their residuals share every row of the Gram matrix that is read. */
const TILE = 32;

/** A tile of rows with its residuals (w - ŵ)·h. */
interface Tile {
  readonly first: number;
  readonly rows: number;
  readonly residual: Float64Array;
}

/** residual row ← residual row - step · h[k, :]. */
function subtract(
  residual: Float64Array,
  at: number,
  step: number,
  h: Float64Array,
  k: number,
  n: number,
): void {
  const row = k * n;
  for (let i = 0; i < n; i++) residual[at + i]! -= step * h[row + i]!;
}

/** Moves every integer to where the error is least while the others stay; returns how many moved. */
function moveIntegers(p: BlockProblem, h: Float64Array, fit: BlockFit, t: Tile): number {
  const { columns: n, block } = p;
  const blocks = blocksOf(p);
  let moved = 0;
  for (let k = 0; k < n; k++) {
    const own = h[k * n + k]!;
    const b = Math.floor(k / block);
    for (let r = 0; r < t.rows; r++) {
      const g = (t.first + r) * blocks + b;
      const at = (t.first + r) * n + k;
      const scale = fit.scale[g]!;
      const q = fit.q[at]!;
      const wish = q * scale + t.residual[r * n + k]! / own;
      const to = nearest(wish, scale, 0, p.options.grid);
      if (to === q) continue;
      fit.q[at] = to;
      subtract(t.residual, r * n, (to - q) * scale, h, k, n);
      moved++;
    }
  }
  return moved;
}

/** Moves every scale to its least-squares value, rounded to its type, where that lowers the error. */
function moveScales(p: BlockProblem, h: Float64Array, fit: BlockFit, t: Tile): number {
  const { columns: n, block, options } = p;
  const blocks = blocksOf(p);
  const u = new Float64Array(block);
  let moved = 0;
  for (let b = 0; b < blocks; b++) {
    const from = b * block;
    const size = Math.min(n, from + block) - from;
    for (let r = 0; r < t.rows; r++) {
      const g = (t.first + r) * blocks + b;
      const at = (t.first + r) * n + from;
      let curve = 0;
      for (let i = 0; i < size; i++) u[i] = fit.q[at + i]! - fit.zero[g]!;
      for (let i = 0; i < size; i++) curve += u[i]! * dot(u, 0, h, (from + i) * n + from, size);
      const slope = dot(u, 0, t.residual, r * n + from, size);
      if (!(curve > 0)) continue;
      const before = fit.scale[g]!;
      const after =
        before + slope / curve > 0 ? roundScale(before + slope / curve, options.scaleType) : before;
      const step = after - before;
      if (step === 0 || step * (step * curve - 2 * slope) >= 0) continue;
      fit.scale[g] = after;
      for (let i = 0; i < size; i++)
        if (u[i] !== 0) subtract(t.residual, r * n, step * u[i]!, h, from + i, n);
      moved++;
    }
  }
  return moved;
}

/**
 * Learned rounding without a learning rate: coordinate descent on tr((w-ŵ)·h·(w-ŵ)ᵀ), the layer-wise objective of
 * AdaRound (arXiv:2004.10568), over the integers and the scales of a fit. Every move is exact and none raises the
 * error, so the result is at least as good as the start in that measure. Changes `fit` in place.
 */
export function refine(p: BlockProblem, fit: BlockFit, options: RefineOptions): void {
  const { rows, columns, gram, weights } = p;
  if (gram === null) throw new Error("learned rounding needs a Gram matrix");
  const h = damped(gram, columns, options.damp);
  const now = restored(p, fit);
  const delta = Float64Array.from(weights, (w, i) => w - now[i]!);
  for (let first = 0; first < rows; first += TILE) {
    const n = Math.min(TILE, rows - first);
    const residual = product(
      part(viewOf(delta, rows, columns), first, first + n, 0, columns),
      viewOf(h, columns, columns),
    );
    const tile: Tile = { first, rows: n, residual };
    for (let round = 0; round < options.rounds; round++) {
      const moved = moveIntegers(p, h, fit, tile) + moveScales(p, h, fit, tile);
      if (moved === 0) break;
    }
  }
}
