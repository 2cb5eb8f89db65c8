import { addProduct, dot, part, type View, viewOf } from "./product.ts";

/** Side of the diagonal blocks; everything beside them is matrix products. */
const BLOCK = 64;

/** Factors the diagonal block at `d` in place; false when a pivot is not positive. */
function factorBlock(a: Float64Array, n: number, d: number, size: number): boolean {
  for (let i = 0; i < size; i++) {
    const row = (d + i) * n + d;
    for (let j = 0; j <= i; j++) {
      const other = (d + j) * n + d;
      const sum = a[row + j]! - dot(a, row, a, other, j);
      if (j < i) a[row + j] = sum / a[other + j]!;
      else {
        if (!(sum > 0)) return false;
        a[row + j] = Math.sqrt(sum);
      }
    }
  }
  return true;
}

/** Rows below the diagonal block at `d`: x ← x·L⁻ᵀ. */
function solveBelow(a: Float64Array, n: number, d: number, size: number): void {
  for (let i = d + size; i < n; i++) {
    const row = i * n + d;
    for (let j = 0; j < size; j++) {
      const other = (d + j) * n + d;
      a[row + j] = (a[row + j]! - dot(a, row, a, other, j)) / a[other + j]!;
    }
  }
}

/**
 * Lower Cholesky factor of a symmetric positive definite matrix (row-major, `n` × `n`), zeros above the diagonal; `null`
 * when it is not positive definite to rounding. Only the lower triangle is read. Blocked, left-looking.
 */
export function cholesky(matrix: Float64Array, n: number): Float64Array | null {
  const a = matrix.slice();
  const whole: View = viewOf(a, n, n);
  for (let d = 0; d < n; d += BLOCK) {
    const end = Math.min(n, d + BLOCK);
    const left = part(whole, d, end, 0, d);
    addProduct(part(whole, d, n, d, end), -1, part(whole, d, n, 0, d), left);
    if (!factorBlock(a, n, d, end - d)) return null;
    solveBelow(a, n, d, end - d);
  }
  for (let i = 0; i < n; i++) a.fill(0, i * n + i + 1, (i + 1) * n);
  return a;
}

/**
 * The factor from the other end: h = v·vᵀ with v upper triangular, returned as its transpose, so that row j holds the
 * j-th column of v, which involves the first j + 1 inputs alone: what rounding one input after the other needs. `null`
 * when `h` is not positive definite.
 */
export function reverseCholesky(h: Float64Array, n: number): Float64Array | null {
  const last = n * n - 1;
  const flipped = new Float64Array(n * n);
  for (let i = 0; i <= last; i++) flipped[i] = h[last - i]!;
  const l = cholesky(flipped, n);
  if (l === null) return null;
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = i; j < n; j++) out[j * n + i] = l[(n - 1 - i) * n + (n - 1 - j)]!;
  return out;
}
