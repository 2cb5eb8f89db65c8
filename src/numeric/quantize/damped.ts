/**
 * A Gram matrix made safe to factor: `share` of the mean diagonal is added to the diagonal, inputs that were never
 * there get a 1 (their weights then cost nothing to round), as in the reference code of GPTQ.
 */
export function damped(gram: Float64Array, n: number, share: number): Float64Array {
  const h = gram.slice();
  let mean = 0;
  for (let i = 0; i < n; i++) mean += h[i * n + i]! / n;
  for (let i = 0; i < n; i++) {
    const at = i * n + i;
    h[at] = h[at]! > 0 ? h[at]! + share * mean : mean > 0 ? mean : 1;
  }
  return h;
}

/** Rows and columns of a symmetric matrix in another order. */
export function reordered(h: Float64Array, n: number, order: Int32Array): Float64Array {
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) out[i * n + j] = h[order[i]! * n + order[j]!]!;
  return out;
}
