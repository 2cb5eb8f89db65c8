import { addMultiply, block, matrix } from "./gemm.ts";
import { addProduct, dot, part, viewOf } from "./product.ts";

const BLOCK = 64;

/** Solves x·lᵀ = b for every row of `b` (row-major `rows` × `n`), in place; `l` is lower triangular. */
export function solveRows(l: Float64Array, n: number, b: Float64Array, rows: number): void {
  const x = viewOf(b, rows, n);
  const factor = viewOf(l, n, n);
  for (let d = 0; d < n; d += BLOCK) {
    const end = Math.min(n, d + BLOCK);
    addProduct(part(x, 0, rows, d, end), -1, part(x, 0, rows, 0, d), part(factor, d, end, 0, d));
    for (let r = 0; r < rows; r++)
      for (let j = d; j < end; j++) {
        const at = r * n;
        b[at + j] = (b[at + j]! - dot(b, at + d, l, j * n + d, j - d)) / l[j * n + j]!;
      }
  }
}

/** Inverse of a lower triangular matrix, row-major. */
export function invertLower(l: Float64Array, n: number): Float64Array {
  // Rows of the identity solved against lᵀ are the columns of the inverse.
  const columns = new Float64Array(n * n);
  for (let i = 0; i < n; i++) columns[i * n + i] = 1;
  solveRows(l, n, columns, n);
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) out[i * n + j] = columns[j * n + i]!;
  return out;
}

/** Solves x·l = b for every row of `b` (row-major `rows` × `n`), in place; `l` is lower triangular. Blocked. */
export function solveRowsUpper(l: Float64Array, n: number, b: Float64Array, rows: number): void {
  const x = matrix(b, rows, n);
  const factor = matrix(l, n, n);
  for (let d = (Math.ceil(n / BLOCK) - 1) * BLOCK; d >= 0; d -= BLOCK) {
    const end = Math.min(n, d + BLOCK);
    addMultiply(
      part(viewOf(b, rows, n), 0, rows, d, end),
      -1,
      block(x, 0, rows, end, n),
      block(factor, end, n, d, end),
    );
    for (let r = 0; r < rows; r++) {
      const at = r * n;
      for (let j = end - 1; j >= d; j--) {
        const v = b[at + j]! / l[j * n + j]!;
        b[at + j] = v;
        const row = j * n;
        for (let i = d; i < j; i++) b[at + i]! -= v * l[row + i]!;
      }
    }
  }
}
