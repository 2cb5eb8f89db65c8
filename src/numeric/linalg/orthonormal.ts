import { cholesky } from "./cholesky.ts";
import { matrix, multiply, selfProduct, turned } from "./gemm.ts";
import { dot } from "./product.ts";
import { solveRows } from "./triangular.ts";

/** Rows shorter than this share of their length before projection are taken for dependent on those above. */
const DEPENDENT = 1e-11;

/** Share of a row's squared length that must be left for Cholesky QR, whose rounding grows with its inverse. */
const DISTINCT = 1e-10;

/** Cholesky QR: rows ← L⁻¹·rows with L·Lᵀ = rows·rowsᵀ; `null` when the rows are too dependent for it. */
function choleskyPass(rows: Float64Array, count: number, length: number): Float64Array | null {
  const a = matrix(rows, count, length);
  const gram = selfProduct(a);
  const l = cholesky(gram, count);
  if (l === null) return null;
  // What is left of a row after those above it must stand out from rounding.
  for (let at = 0; at < gram.length; at += count + 1) if (!(l[at]! ** 2 > DISTINCT * gram[at]!)) return null;
  // Columns of the result solve l·x = column, that is xᵀ·lᵀ = columnᵀ, for every row of the transpose.
  const inverse = new Float64Array(count * count);
  for (let i = 0; i < count; i++) inverse[i * count + i] = 1;
  solveRows(l, count, inverse, count);
  return multiply(turned(matrix(inverse, count, count)), a);
}

/** Modified Gram-Schmidt, every row projected twice; dependent rows become zero and go to the end. */
function gramSchmidt(rows: Float64Array, count: number, length: number): Float64Array {
  const out = new Float64Array(rows.length);
  let kept = 0;
  for (let r = 0; r < count; r++) {
    const x = rows.slice(r * length, (r + 1) * length);
    const before = Math.sqrt(dot(x, 0, x, 0, length));
    for (let pass = 0; pass < 2; pass++)
      for (let q = 0; q < kept; q++) {
        const s = dot(out, q * length, x, 0, length);
        for (let i = 0; i < length; i++) x[i]! -= s * out[q * length + i]!;
      }
    const left = Math.sqrt(dot(x, 0, x, 0, length));
    if (!(left > DEPENDENT * before)) continue;
    for (let i = 0; i < length; i++) out[kept * length + i] = x[i]! / left;
    kept++;
  }
  return out;
}

/**
 * Rows that are orthonormal and span what the given ones (row-major, `count` × `length`) do; where those are dependent,
 * as more rows than columns are, the last rows are zero. Cholesky QR twice (Yamamoto and others 2015), Gram-Schmidt where it fails.
 */
export function orthonormalRows(rows: Float64Array, count: number, length: number): Float64Array {
  const once = choleskyPass(rows, count, length);
  const twice = once === null ? null : choleskyPass(once, count, length);
  return twice ?? gramSchmidt(rows, count, length);
}
