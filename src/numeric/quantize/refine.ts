import { addProduct, dot, part, product, type View, viewOf } from "../linalg/product.ts";
import { damped } from "./damped.ts";
import { roundScale } from "./grid.ts";
import { type BlockFit, type BlockProblem, blocksOf, nearest, restored } from "./problem.ts";

/** Settings of {@link refine}. */
export interface RefineOptions {
  /** Share of the mean diagonal added to the Gram matrix. */
  readonly damp: number;
  /** Passes over all integers and scales; it ends earlier when nothing changes. */
  readonly rounds: number;
  /** Weights that may move, 1, and zeros that stay, 0; `null` when all may. */
  readonly kept?: Uint8Array | null;
}

/** Rows worked on together: their residuals share every row of the Gram matrix that is read. */
const TILE = 32;

/** A tile of rows with its residuals (w - ŵ)·h. */
interface Tile {
  readonly first: number;
  readonly rows: number;
  readonly residual: Float64Array;
}

/** Columns worked on before their moves reach the residuals of all others, by a matrix product. */
const STRETCH = 64;

/** residual ← residual - steps · h[from..end, :] for the columns outside the stretch; inside it has been done. */
function spread(h: View, t: Tile, steps: View, from: number, end: number): void {
  if (steps.data.every((x) => x === 0)) return;
  const n = h.columns;
  const all = viewOf(t.residual, t.rows, n);
  for (const [a, b] of [
    [0, from],
    [end, n],
  ] as const)
    if (b > a) addProduct(part(all, 0, t.rows, a, b), -1, steps, part(h, a, b, from, end));
}

/** Moves every integer to where the error is least while the others stay; returns how many moved. */
function moveIntegers(p: BlockProblem, h: View, fit: BlockFit, t: Tile, kept: Uint8Array | null): number {
  const { columns: n, block } = p;
  const blocks = blocksOf(p);
  let moved = 0;
  for (let from = 0; from < n; from += STRETCH) {
    const end = Math.min(n, from + STRETCH);
    const steps = viewOf(new Float64Array(t.rows * (end - from)), t.rows, end - from);
    for (let r = 0; r < t.rows; r++)
      for (let k = from; k < end; k++) {
        const scale = fit.scale[(t.first + r) * blocks + Math.floor(k / block)]!;
        const at = (t.first + r) * n + k;
        if (kept?.[at] === 0) continue;
        const q = fit.q[at]!;
        const wish = q * scale + t.residual[r * n + k]! / h.data[k * n + k]!;
        const to = nearest(wish, scale, 0, p.options.grid);
        if (to === q) continue;
        fit.q[at] = to;
        const step = (to - q) * scale;
        steps.data[r * steps.stride + k - from] = step;
        for (let i = from; i < end; i++) t.residual[r * n + i]! -= step * h.data[k * n + i]!;
        moved++;
      }
    spread(h, t, steps, from, end);
  }
  return moved;
}

/** Moves every scale to its least-squares value, rounded to its type, where that lowers the error. */
function moveScales(p: BlockProblem, h: View, fit: BlockFit, t: Tile): number {
  const { columns: n, block, options } = p;
  const blocks = blocksOf(p);
  const u = new Float64Array(block);
  const uh = new Float64Array(block);
  let moved = 0;
  for (let b = 0; b < blocks; b++) {
    const from = b * block;
    const end = Math.min(n, from + block);
    const size = end - from;
    const steps = viewOf(new Float64Array(t.rows * size), t.rows, size);
    for (let r = 0; r < t.rows; r++) {
      const g = (t.first + r) * blocks + b;
      const at = (t.first + r) * n + from;
      for (let i = 0; i < size; i++) u[i] = fit.q[at + i]! - fit.zero[g]!;
      for (let i = 0; i < size; i++) uh[i] = dot(u, 0, h.data, (from + i) * n + from, size);
      const slope = dot(u, 0, t.residual, r * n + from, size);
      const curve = dot(u, 0, uh, 0, size);
      const before = fit.scale[g]!;
      const wish = before + slope / curve;
      if (!(curve > 0) || !(wish > 0)) continue;
      const after = roundScale(wish, options.scaleType);
      const step = after - before;
      if (step === 0 || step * (step * curve - 2 * slope) >= 0) continue;
      fit.scale[g] = after;
      for (let i = 0; i < size; i++) {
        steps.data[r * size + i] = step * u[i]!;
        t.residual[r * n + from + i]! -= step * uh[i]!;
      }
      moved++;
    }
    spread(h, t, steps, from, end);
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
  const view = viewOf(h, columns, columns);
  const now = restored(p, fit);
  const delta = Float64Array.from(weights, (w, i) => w - now[i]!);
  for (let first = 0; first < rows; first += TILE) {
    const n = Math.min(TILE, rows - first);
    const residual = product(part(viewOf(delta, rows, columns), first, first + n, 0, columns), view);
    const tile: Tile = { first, rows: n, residual };
    for (let round = 0; round < options.rounds; round++) {
      const moved = moveIntegers(p, view, fit, tile, options.kept ?? null) + moveScales(p, view, fit, tile);
      if (moved === 0) break;
    }
  }
}
