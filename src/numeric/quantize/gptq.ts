import { reverseCholesky } from "../linalg/cholesky.ts";
import { addProduct, dot, part, type View, viewOf } from "../linalg/product.ts";
import { damped, reordered } from "./damped.ts";
import type { Fit } from "./place.ts";
import { type BlockFit, type BlockProblem, blocksOf, emptyFit, nearest } from "./problem.ts";
import { fitNearest, fitWeighted } from "./weighted.ts";

/** Settings of {@link gptq}. */
export interface GptqOptions {
  /** Share of the mean diagonal added to the Gram matrix. */
  readonly damp: number;
  /** Inputs with the largest second moment first; scales are then chosen before the sweep. */
  readonly actOrder: boolean;
}

/** Columns between two collections of the errors so far by a matrix product. */
const SWEEP = 128;

/** Damping grows tenfold this often before a Gram matrix counts as unusable. */
const ATTEMPTS = 5;

/** Descending by second moment; ties keep their order. */
function actOrderOf(h: Float64Array, n: number): Int32Array {
  return Int32Array.from({ length: n }, (_, i) => i).sort((a, b) => h[b * n + b]! - h[a * n + a]! || a - b);
}

/** A factored Gram matrix and the order of inputs it was factored in; serves every weight with these inputs. */
export interface Factored {
  readonly v: Float64Array;
  readonly order: Int32Array;
}

/** Factors a Gram matrix for {@link gptq}. */
export function factorGram(gram: Float64Array, n: number, options: GptqOptions): Factored {
  for (let i = 0, damp = options.damp; i < ATTEMPTS; i++, damp *= 10) {
    const h = damped(gram, n, damp);
    const order = options.actOrder ? actOrderOf(h, n) : Int32Array.from({ length: n }, (_, j) => j);
    const v = reverseCholesky(options.actOrder ? reordered(h, n, order) : h, n);
    if (v !== null) return { v, order };
  }
  throw new Error("the Gram matrix cannot be factored");
}

/** State of the sweep: errors w - ŵ in sweep order, and what earlier errors add to each column of this stretch. */
interface Sweep {
  readonly v: Float64Array;
  readonly errors: Float64Array;
  readonly carried: Float64Array;
  readonly from: number;
}

/** What the errors made so far weigh on column `j` of row `r`, in units of that column's own error. */
function push({ v, errors, carried, from }: Sweep, columns: number, r: number, j: number): number {
  const before = dot(errors, r * columns + from, v, j * columns + from, j - from);
  return (carried[r * SWEEP + j - from]! + before) / v[j * columns + j]!;
}

/** Scale of a block from its weights as the errors so far have shifted them; counts columns as rounding them will cost. */
function fitShifted(
  fit: Fit,
  p: BlockProblem,
  s: Sweep,
  r: number,
  j: number,
  scratch: Float64Array[],
): void {
  const n = Math.min(p.block, p.columns - j);
  const [shifted, cost] = scratch as [Float64Array, Float64Array];
  for (let i = 0; i < n; i++) {
    const shift = push(s, p.columns, r, j + i);
    s.errors[r * p.columns + j + i] = -shift;
    shifted[i] = p.weights[r * p.columns + j + i]! + shift;
    cost[i] = s.v[(j + i) * p.columns + j + i]! ** 2;
  }
  fitWeighted(fit, shifted, cost, n, p.options);
}

/** Chooses the float that stands for a weight: row, position in the sweep, column, the value to come close to. */
type Choose = (s: Sweep, r: number, j: number, column: number, target: number) => number;

/**
 * The sweep of GPTQ (Frantar et al., arXiv:2210.17323): rounds one input after the other and lets every later weight of
 * the row make up for the errors so far. With h = v·vᵀ (v upper triangular) the cost of errors e is ‖e·v‖², whose j-th
 * term is e_j·v_jj + Σ_{i<j} e_i·v_ij: rounding w_j + Σ e_i·v_ij / v_jj is the sweep, without the inverse the paper
 * keeps. O(rows·columns²/2), after columns³/6 for the factor.
 */
export function errorFeedback(p: BlockProblem, { v, order }: Factored, choose: Choose): void {
  const { rows, columns, weights } = p;
  const errors = new Float64Array(rows * columns);
  const all: View = viewOf(errors, rows, columns);
  for (let from = 0; from < columns; from += SWEEP) {
    const end = Math.min(columns, from + SWEEP);
    const carried = new Float64Array(rows * SWEEP);
    addProduct(
      { data: carried, rows, columns: end - from, start: 0, stride: SWEEP },
      1,
      part(all, 0, rows, 0, from),
      part(viewOf(v, columns, columns), from, end, 0, from),
    );
    const s: Sweep = { v, errors, carried, from };
    for (let r = 0; r < rows; r++)
      for (let j = from; j < end; j++) {
        const column = order[j]!;
        const w = weights[r * columns + column]!;
        const chosen = choose(s, r, j, column, w + push(s, columns, r, j));
        errors[r * columns + j] = w - chosen;
      }
  }
}

/** Integers and scales by {@link errorFeedback}. Needs a Gram matrix, or its factor. */
export function gptq(p: BlockProblem, options: GptqOptions, factored: Factored | null = null): BlockFit {
  const { columns, block, gram } = p;
  if (gram === null) throw new Error("GPTQ needs a Gram matrix");
  const { grid } = p.options;
  const blocks = blocksOf(p);
  // Blocks longer than a stretch, or scattered by the order, keep the scales of the weights as they were.
  const fixed = options.actOrder || block > SWEEP || SWEEP % block !== 0;
  const out = fixed ? fitNearest(p) : emptyFit(p);
  const scratch = [new Float64Array(block), new Float64Array(block)];
  const fit: Fit = { scale: 1, zero: 0 };
  errorFeedback(p, factored ?? factorGram(gram, columns, options), (s, r, j, column, target) => {
    const g = r * blocks + Math.floor(column / block);
    if (!fixed && j % block === 0) {
      fitShifted(fit, p, s, r, j, scratch);
      out.scale[g] = fit.scale;
      out.zero[g] = fit.zero;
    }
    const scale = out.scale[g]!;
    const zero = out.zero[g]!;
    const q = nearest(target, scale, zero, grid);
    out.q[r * columns + column] = q;
    return Math.fround((q - zero) * scale);
  });
  return out;
}
