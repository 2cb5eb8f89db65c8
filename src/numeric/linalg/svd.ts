import { symmetricEigen } from "./eigen.ts";
import { product, transposed, viewOf } from "./product.ts";

/** The `rank` largest singular triples of a matrix. */
export interface TruncatedSvd {
  readonly rank: number;
  readonly values: Float64Array;
  /** Row i is the left singular vector of value i (`rank` × `rows`). */
  readonly left: Float64Array;
  /** Row i is the right singular vector of value i (`rank` × `columns`); zero where the value is. */
  readonly right: Float64Array;
}

/**
 * Singular values and vectors of a row-major matrix through the eigenvectors of the smaller of its two Gram matrices.
 * Values below about 1e-8 of the largest are lost to rounding, which truncation does not mind.
 */
export function truncatedSvd(
  matrix: Float64Array,
  rows: number,
  columns: number,
  wanted: number,
): TruncatedSvd {
  const tall = rows > columns;
  const [m, small, large] = tall
    ? [transposed(matrix, rows, columns), columns, rows]
    : [matrix, rows, columns];
  const rank = Math.min(wanted, small);
  const e = symmetricEigen(product(viewOf(m, small, large), viewOf(m, small, large)), small);
  const near = e.vectors.slice(0, rank * small);
  // Each far vector is mᵀ·near / value.
  const far = product(viewOf(near, rank, small), viewOf(transposed(m, small, large), large, small));
  const values = new Float64Array(rank);
  for (let i = 0; i < rank; i++) {
    const row = far.subarray(i * large, (i + 1) * large);
    const norm = Math.sqrt(row.reduce((s, x) => s + x * x, 0));
    values[i] = norm;
    for (let j = 0; j < large; j++) row[j] = norm > 0 ? row[j]! / norm : 0;
  }
  return tall ? { rank, values, left: far, right: near } : { rank, values, left: near, right: far };
}
