import { dot } from "./product.ts";

/** Eigenvalues in descending order; row i of `vectors` is the unit eigenvector of value i. */
export interface Eigen {
  readonly values: Float64Array;
  readonly vectors: Float64Array;
}

/** A symmetric matrix as q·t·qᵀ with tridiagonal t; `rows` holds q row-major. */
interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** Entry i couples i and i + 1. */
  readonly beside: Float64Array;
  readonly rows: Float64Array;
}

/**
 * Householder reflections from the last row up (Golub and Van Loan, §8.3.1), applied to contiguous rows. Without
 * `vectors`, q is left out.
 */
function tridiagonalise(matrix: Float64Array, n: number, vectors: boolean): Tridiagonal {
  const a = matrix.slice();
  const beside = new Float64Array(n);
  const reflectors: { readonly v: Float64Array; readonly beta: number }[] = [];
  const p = new Float64Array(n);
  for (let k = n - 1; k >= 2; k--) {
    const row = k * n;
    const norm = Math.sqrt(dot(a, row, a, row, k));
    const pivot = a[row + k - 1]!;
    beside[k - 1] = pivot;
    const rest = dot(a, row, a, row, k - 1);
    if (rest === 0) {
      reflectors.push({ v: new Float64Array(0), beta: 0 });
      continue;
    }
    const alpha = pivot > 0 ? -norm : norm;
    beside[k - 1] = alpha;
    const v = a.slice(row, row + k);
    v[k - 1]! -= alpha;
    const beta = 2 / dot(v, 0, v, 0, k);
    for (let i = 0; i < k; i++) p[i] = beta * dot(a, i * n, v, 0, k);
    const half = (beta / 2) * dot(p, 0, v, 0, k);
    for (let i = 0; i < k; i++) p[i]! -= half * v[i]!;
    for (let i = 0; i < k; i++) {
      const vi = v[i]!;
      const pi = p[i]!;
      for (let j = 0, at = i * n; j < k; j++) a[at + j]! -= vi * p[j]! + pi * v[j]!;
    }
    reflectors.push({ v, beta });
  }
  if (n > 1) beside[0] = a[n]!;
  const diagonal = Float64Array.from({ length: n }, (_, i) => a[i * n + i]!);
  if (!vectors) return { diagonal, beside, rows: new Float64Array(0) };
  const rows = new Float64Array(n * n);
  for (let i = 0; i < n; i++) rows[i * n + i] = 1;
  // Every row of the identity passes through the reflections in the order they were made.
  for (const { v, beta } of reflectors) {
    const k = v.length;
    for (let i = 0; i < n; i++) {
      const s = beta * dot(rows, i * n, v, 0, k);
      for (let j = 0, at = i * n; j < k && s !== 0; j++) rows[at + j]! -= s * v[j]!;
    }
  }
  return { diagonal, beside, rows };
}

/** A rotation that turns (x, y) into (r, 0). */
function rotate(rows: Float64Array, n: number, i: number, c: number, s: number): void {
  const p = i * n;
  const q = p + n;
  for (let j = 0; j < n; j++) {
    const f = rows[q + j]!;
    const g = rows[p + j]!;
    rows[q + j] = s * g + c * f;
    rows[p + j] = c * g - s * f;
  }
}

/** More steps than any matrix needs (two per value are usual). */
const MOST_STEPS = 60;

/** Implicit QL with Wilkinson's shift (Bowdler, Martin, Reinsch and Wilkinson 1968), in place. */
function diagonalise({ diagonal: d, beside: e, rows }: Tridiagonal, n: number): void {
  for (let l = 0; l < n; l++) {
    for (let step = 0; ; step++) {
      let m = l;
      for (; m < n - 1; m++) {
        const scale = Math.abs(d[m]!) + Math.abs(d[m + 1]!);
        if (Math.abs(e[m]!) <= Number.EPSILON * scale) break;
      }
      if (m === l) break;
      if (step === MOST_STEPS) throw new Error("the eigenvalue iteration did not converge");
      let g = (d[l + 1]! - d[l]!) / (2 * e[l]!);
      let r = Math.hypot(g, 1);
      g = d[m]! - d[l]! + e[l]! / (g + (g >= 0 ? r : -r));
      let s = 1;
      let c = 1;
      let p = 0;
      let i = m - 1;
      for (; i >= l; i--) {
        const f = s * e[i]!;
        const b = c * e[i]!;
        r = Math.hypot(f, g);
        e[i + 1] = r;
        if (r === 0) {
          d[i + 1]! -= p;
          e[m] = 0;
          break;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1]! - p;
        r = (d[i]! - g) * s + 2 * c * b;
        p = s * r;
        d[i + 1] = g + p;
        g = c * r - b;
        if (rows.length > 0) rotate(rows, n, i, c, s);
      }
      if (r === 0 && i >= l) continue;
      d[l]! -= p;
      e[l] = g;
      e[m] = 0;
    }
  }
}

/**
 * Eigenvalues and vectors of a symmetric row-major `n` × `n` matrix: Householder tridiagonalisation and implicit QL.
 * The sign of a vector is such that its largest entry is positive. O(n³).
 */
export function symmetricEigen(matrix: Float64Array, n: number): Eigen {
  const t = tridiagonalise(matrix, n, true);
  // QL rotates columns of q; they are kept as rows so that a rotation touches contiguous memory.
  const columns: Tridiagonal = { ...t, rows: transposeSquare(t.rows, n) };
  diagonalise(columns, n);
  const order = Array.from({ length: n }, (_, i) => i).sort(
    (i, j) => columns.diagonal[j]! - columns.diagonal[i]! || i - j,
  );
  const values = Float64Array.from(order, (i) => columns.diagonal[i]!);
  const vectors = new Float64Array(n * n);
  for (const [to, from] of order.entries()) {
    const v = columns.rows.subarray(from * n, (from + 1) * n);
    let top = 0;
    for (const x of v) if (Math.abs(x) > Math.abs(top)) top = x;
    for (let j = 0; j < n; j++) vectors[to * n + j] = top < 0 ? -v[j]! : v[j]!;
  }
  return { values, vectors };
}

/** Eigenvalues alone, in descending order: about an eighth of the work. */
export function symmetricEigenvalues(matrix: Float64Array, n: number): Float64Array {
  const t = tridiagonalise(matrix, n, false);
  diagonalise(t, n);
  return t.diagonal.sort().reverse();
}

function transposeSquare(x: Float64Array, n: number): Float64Array {
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) out[j * n + i] = x[i * n + j]!;
  return out;
}
