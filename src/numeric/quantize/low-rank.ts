import { roundF16 } from "../f16.ts";
import { cholesky } from "../linalg/cholesky.ts";
import { product, transposed, viewOf } from "../linalg/product.ts";
import { truncatedSvd } from "../linalg/svd.ts";
import { solveRowsUpper } from "../linalg/triangular.ts";
import { damped } from "./damped.ts";

/** A matrix as left · right, both as half precision can hold them. */
export interface Branch {
  readonly rank: number;
  /** `rows` × `rank`. */
  readonly left: Float64Array;
  /** `rank` × `columns`. */
  readonly right: Float64Array;
}

/** left · right, row-major `rows` × `columns`. */
export function branchProduct(b: Branch, rows: number, columns: number): Float64Array {
  return product(viewOf(b.left, rows, b.rank), viewOf(transposed(b.right, b.rank, columns), columns, b.rank));
}

const norm = (x: Float64Array): number => Math.sqrt(x.reduce((s, v) => s + v * v, 0));

/** Lower triangular S with S·Sᵀ = h, damped by a share of its mean diagonal. */
export function gramRoot(gram: Float64Array, columns: number, damp: number): Float64Array {
  const s = cholesky(damped(gram, columns, damp), columns);
  if (s === null) throw new Error("the Gram matrix cannot be factored");
  return s;
}

/**
 * The matrix of a given rank that lowers tr(Δ·h·Δᵀ) most when added to what is left of `residual`:
 * SVD_r(residual·S)·S⁻¹ with S·Sᵀ = h (QERA, arXiv:2410.06040), in half precision. `s` is S, see {@link gramRoot};
 * `null` counts all inputs alike.
 */
export function lowRankBranch(
  residual: Float64Array,
  shape: { readonly rows: number; readonly columns: number },
  rank: number,
  s: Float64Array | null,
): Branch {
  const { rows, columns } = shape;
  const weighed =
    s === null
      ? residual
      : product(viewOf(residual, rows, columns), viewOf(transposed(s, columns, columns), columns, columns));
  const svd = truncatedSvd(weighed, rows, columns, rank);
  const right = svd.right;
  if (s !== null) solveRowsUpper(s, columns, right, svd.rank);
  const left = new Float64Array(rows * svd.rank);
  for (let i = 0; i < svd.rank; i++) {
    const row = right.subarray(i * columns, (i + 1) * columns);
    // The magnitude is shared evenly, so that neither side leaves the range of half precision.
    const share = norm(row) > 0 ? Math.sqrt(svd.values[i]! / norm(row)) : 0;
    for (let j = 0; j < columns; j++) row[j] = roundF16(row[j]! * share);
    for (let r = 0; r < rows; r++)
      left[r * svd.rank + i] = share > 0 ? roundF16((svd.left[i * rows + r]! * svd.values[i]!) / share) : 0;
  }
  return { rank: svd.rank, left, right };
}
