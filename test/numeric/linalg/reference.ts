import { createRng } from "../../../src/numeric/rng.ts";

/** A well-conditioned symmetric positive definite matrix of `n` inputs seen at `2n` positions. */
export function positive(n: number, seed: number): Float64Array {
  const rng = createRng(seed);
  const x = Float64Array.from({ length: 2 * n * n }, () => rng.normal());
  const h = new Float64Array(n * n);
  for (let p = 0; p < 2 * n; p++)
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) h[i * n + j]! += x[p * n + i]! * x[p * n + j]!;
  for (let i = 0; i < n; i++) h[i * n + i]! += 0.5;
  return h;
}

/** Definitions as loops: what the fast versions must equal. */
export const reference = {
  /** a·bᵀ. */
  product(a: Float64Array, b: Float64Array, { m, n, k }: { m: number; n: number; k: number }): Float64Array {
    const c = new Float64Array(m * n);
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) for (let p = 0; p < k; p++) c[i * n + j]! += a[i * k + p]! * b[j * k + p]!;
    return c;
  },
  cholesky(a: Float64Array, n: number): Float64Array {
    const l = new Float64Array(n * n);
    for (let i = 0; i < n; i++)
      for (let j = 0; j <= i; j++) {
        let sum = a[i * n + j]!;
        for (let k = 0; k < j; k++) sum -= l[i * n + k]! * l[j * n + k]!;
        l[i * n + j] = i === j ? Math.sqrt(sum) : sum / l[j * n + j]!;
      }
    return l;
  },
  /** Eigenvalues by cyclic Jacobi rotations, descending. */
  jacobi(matrix: Float64Array, n: number): number[] {
    const a = matrix.slice();
    for (let sweep = 0; sweep < 60; sweep++) {
      let off = 0;
      for (let p = 0; p < n; p++)
        for (let q = p + 1; q < n; q++) {
          const apq = a[p * n + q]!;
          off += apq * apq;
          if (apq === 0) continue;
          const theta = (a[q * n + q]! - a[p * n + p]!) / (2 * apq);
          const t = Math.sign(theta || 1) / (Math.abs(theta) + Math.hypot(theta, 1));
          const c = 1 / Math.hypot(t, 1);
          const s = t * c;
          for (let k = 0; k < n; k++) {
            const [x, y] = [a[k * n + p]!, a[k * n + q]!];
            a[k * n + p] = c * x - s * y;
            a[k * n + q] = s * x + c * y;
          }
          for (let k = 0; k < n; k++) {
            const [x, y] = [a[p * n + k]!, a[q * n + k]!];
            a[p * n + k] = c * x - s * y;
            a[q * n + k] = s * x + c * y;
          }
        }
      if (off < 1e-26) break;
    }
    return Array.from({ length: n }, (_, i) => a[i * n + i]!).sort((x, y) => y - x);
  },
};
