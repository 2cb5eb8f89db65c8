import { reverseCholesky } from "../linalg/cholesky.ts";
import { addProduct, dot, part, type View, viewOf } from "../linalg/product.ts";
import { damped, reordered } from "./damped.ts";

/** How a Gram matrix is factored. */
export interface FactorOptions {
  /** Share of the mean diagonal added to the Gram matrix. */
  readonly damp: number;
  /** Inputs with the largest second moment first; scales are then chosen before the sweep. */
  readonly actOrder: boolean;
}

/** Columns between two collections of the errors so far by a matrix product. */
export const SWEEP = 128;

/** Damping grows tenfold this often before a Gram matrix counts as unusable. */
const ATTEMPTS = 5;

/** Groups of inputs by descending second moment, the inputs of a group in the order given; ties keep their order. */
function sortedGroups(h: Float64Array, n: number, base: Int32Array, group: number): Int32Array {
  const energy = Float64Array.from({ length: n / group }, (_, g) => {
    let sum = 0;
    for (let i = g * group; i < (g + 1) * group; i++) sum += h[base[i]! * (n + 1)]!;
    return sum;
  });
  const order = Int32Array.from(energy, (_, g) => g).sort((a, b) => energy[b]! - energy[a]! || a - b);
  return Int32Array.from({ length: n }, (_, i) => base[order[Math.floor(i / group)]! * group + (i % group)]!);
}

/** A factored Gram matrix and the order of inputs it was factored in; serves every weight with these inputs. */
export interface Factored {
  readonly v: Float64Array;
  readonly order: Int32Array;
}

/** Inputs that stay neighbours in a sweep: `order` lists them group by group. */
export interface Grouping {
  readonly order: Int32Array;
  readonly group: number;
}

/** Factors a Gram matrix for {@link errorFeedback}. */
export function factorGram(
  gram: Float64Array,
  n: number,
  options: FactorOptions & { readonly grouping?: Grouping },
): Factored {
  const { order: base, group } = options.grouping ?? {
    order: Int32Array.from({ length: n }, (_, i) => i),
    group: 1,
  };
  for (let i = 0, damp = options.damp; i < ATTEMPTS; i++, damp *= 10) {
    const h = damped(gram, n, damp);
    const order = options.actOrder ? sortedGroups(h, n, base, group) : base;
    const v = reverseCholesky(order.every((c, j) => c === j) ? h : reordered(h, n, order), n);
    if (v !== null) return { v, order };
  }
  throw new Error("the Gram matrix cannot be factored");
}

/** State of the sweep: errors w - ŵ in sweep order, and what earlier errors add to each column of this stretch. */
export interface Sweep {
  readonly v: Float64Array;
  readonly errors: Float64Array;
  readonly carried: Float64Array;
  /** Columns of this stretch, [from, end) in sweep order. */
  readonly from: number;
  readonly end: number;
}

/** What the errors made so far weigh on column `j` of row `r`, in units of that column's own error. */
export function push({ v, errors, carried, from }: Sweep, columns: number, r: number, j: number): number {
  const before = dot(errors, r * columns + from, v, j * columns + from, j - from);
  return (carried[r * SWEEP + j - from]! + before) / v[j * columns + j]!;
}

/** What a sweep decides. */
export interface Decide {
  /** Called once before each stretch of columns. */
  readonly begin?: (s: Sweep) => void;
  /** Chooses the float that stands for a weight: row, position in the sweep, column, the value to come close to. */
  readonly choose: (s: Sweep, r: number, j: number, column: number, target: number) => number;
}

/** A weight matrix, row-major `rows` × `columns`. */
export interface Matrix {
  readonly weights: Float64Array;
  readonly rows: number;
  readonly columns: number;
}

/**
 * The sweep of GPTQ (Frantar et al., arXiv:2210.17323) and SparseGPT (Frantar and Alistarh, arXiv:2301.00774): settles
 * one input after the other and lets every later weight of the row make up for the errors so far. With h = v·vᵀ (v
 * upper triangular) the cost of errors e is ‖e·v‖², whose j-th term is e_j·v_jj + Σ_{i<j} e_i·v_ij: aiming at
 * w_j + Σ e_i·v_ij / v_jj is the sweep, without the inverse the papers keep. O(rows·columns²/2), after columns³/6 for
 * the factor.
 */
export function errorFeedback(p: Matrix, { v, order }: Factored, { begin, choose }: Decide): void {
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
    const s: Sweep = { v, errors, carried, from, end };
    begin?.(s);
    for (let r = 0; r < rows; r++)
      for (let j = from; j < end; j++) {
        const column = order[j]!;
        const w = weights[r * columns + column]!;
        const chosen = choose(s, r, j, column, w + push(s, columns, r, j));
        errors[r * columns + j] = w - chosen;
      }
  }
}
