import { cholesky } from "../linalg/cholesky.ts";
import { product, viewOf } from "../linalg/product.ts";
import { solveRows, solveRowsUpper } from "../linalg/triangular.ts";
import { centred } from "./bias.ts";
import { damped } from "./damped.ts";

/** A layer behind layers that are compressed already: its weights and what is known of its inputs. */
export interface SteerProblem {
  /** Row-major `rows` × `columns`. */
  readonly weights: Float64Array;
  readonly rows: number;
  readonly columns: number;
  /** E x̂x̂ᵀ of the inputs x̂ the layer will see. */
  readonly own: Float64Array;
  /** E x̂xᵀ with the inputs x it was made for. */
  readonly cross: Float64Array;
  /** E x̂ and E x where a bias takes up the mean; the weights then answer for what is left of both Gram matrices. */
  readonly means: { readonly own: Float64Array; readonly original: Float64Array } | null;
}

/** Weights that come closest to the original output, and what the bias gains beside them. */
export interface Steered {
  readonly weights: Float64Array;
  /** One number per row; `null` without means. */
  readonly shift: Float64Array | null;
}

/** Damping grows tenfold this often before a Gram matrix counts as unusable. */
const ATTEMPTS = 5;

function factored(own: Float64Array, columns: number, damp: number): Float64Array {
  for (let i = 0, share = damp; i < ATTEMPTS; i++, share *= 10) {
    const l = cholesky(damped(own, columns, share), columns);
    if (l !== null) return l;
  }
  throw new Error("the Gram matrix cannot be factored");
}

/** E(x̂ - μ̂)(x - μ)ᵀ. */
function centredCross({ cross, columns: n, means }: SteerProblem): Float64Array {
  if (means === null) return cross;
  const out = cross.slice();
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) out[i * n + j]! -= means.own[i]! * means.original[j]!;
  return out;
}

/**
 * The least-squares weights ŵ of ‖w·x + b - ŵ·x̂ - b̂‖² over the observed inputs, shrunk towards w: ŵ = w + w·E(x - x̂)x̂ᵀ ·
 * (E x̂x̂ᵀ + λ)⁻¹, λ being `damp` times the mean diagonal. Written as a difference so that directions the inputs do not
 * span keep their weights.
 */
function moved(p: SteerProblem, damp: number): Float64Array {
  const { weights, rows, columns, means } = p;
  const own = means === null ? p.own : centred(p.own, means.own);
  const difference = centredCross(p).map((c, i) => c - own[i]!);
  const change = product(viewOf(weights, rows, columns), viewOf(difference, columns, columns));
  const l = factored(own, columns, damp);
  solveRows(l, columns, change, rows);
  solveRowsUpper(l, columns, change, rows);
  return weights.map((w, i) => w + change[i]!);
}

/** See {@link moved}; with `damp` `null` weights stay and only the bias gains what its mean lost. */
export function steer(p: SteerProblem, damp: number | null): Steered {
  const { weights, rows, columns, means } = p;
  const steered = damp === null ? weights : moved(p, damp);
  if (means === null) return { weights: steered, shift: null };
  const shift = Float64Array.from({ length: rows }, (_, r) => {
    let sum = 0;
    for (let j = 0, at = r * columns; j < columns; j++, at++)
      sum += weights[at]! * means.original[j]! - steered[at]! * means.own[j]!;
    return sum;
  });
  return { weights: steered, shift };
}
