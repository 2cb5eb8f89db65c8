/** A matrix inside an array: `rows` × `columns` from `start`, rows `stride` apart. */
export interface View {
  readonly data: Float64Array;
  readonly rows: number;
  readonly columns: number;
  readonly start: number;
  readonly stride: number;
}

/** A whole row-major array as a view. */
export function viewOf(data: Float64Array, rows: number, columns: number): View {
  return { data, rows, columns, start: 0, stride: columns };
}

/** Rows [r0, r1) and columns [c0, c1) of a view. */
export function part(v: View, r0: number, r1: number, c0: number, c1: number): View {
  return { ...v, rows: r1 - r0, columns: c1 - c0, start: v.start + r0 * v.stride + c0 };
}

/** Summed columns handled at a time: a panel of rows this long stays in the first-level cache. */
const PANEL = 256;

/** Rows of the right side that stay in the second-level cache while all rows of the left side pass. */
const STRIP = 64;

/** c[i, j] += factor · Σ_k a[i, k]·b[j, k] for four rows of `a` and two of `b`: eight sums that stay in registers. */
function tile(
  at: { a: number; b: number; c: number },
  k: number,
  factor: number,
  av: View,
  bv: View,
  cv: View,
): void {
  const a = av.data;
  const b = bv.data;
  const c = cv.data;
  const a0 = at.a;
  const a1 = a0 + av.stride;
  const a2 = a1 + av.stride;
  const a3 = a2 + av.stride;
  const b0 = at.b;
  const b1 = b0 + bv.stride;
  let s00 = 0;
  let s01 = 0;
  let s10 = 0;
  let s11 = 0;
  let s20 = 0;
  let s21 = 0;
  let s30 = 0;
  let s31 = 0;
  for (let i = 0; i < k; i++) {
    const x0 = b[b0 + i]!;
    const x1 = b[b1 + i]!;
    const y0 = a[a0 + i]!;
    const y1 = a[a1 + i]!;
    s00 += y0 * x0;
    s01 += y0 * x1;
    s10 += y1 * x0;
    s11 += y1 * x1;
    const y2 = a[a2 + i]!;
    const y3 = a[a3 + i]!;
    s20 += y2 * x0;
    s21 += y2 * x1;
    s30 += y3 * x0;
    s31 += y3 * x1;
  }
  let to = at.c;
  c[to]! += factor * s00;
  c[to + 1]! += factor * s01;
  to += cv.stride;
  c[to]! += factor * s10;
  c[to + 1]! += factor * s11;
  to += cv.stride;
  c[to]! += factor * s20;
  c[to + 1]! += factor * s21;
  to += cv.stride;
  c[to]! += factor * s30;
  c[to + 1]! += factor * s31;
}

/** Σ x[p + i]·y[q + i] for i < n. */
export function dot(x: Float64Array, p: number, y: Float64Array, q: number, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += x[p + i]! * y[q + i]!;
  return sum;
}

/** c += factor · a·bᵀ. `c` must not share elements with `a` or `b`. The order of sums is fixed by the sizes. */
export function addProduct(c: View, factor: number, a: View, b: View): void {
  const m4 = a.rows - (a.rows % 4);
  const n2 = b.rows - (b.rows % 2);
  for (let k0 = 0; k0 < a.columns; k0 += PANEL) {
    const k = Math.min(PANEL, a.columns - k0);
    for (let j0 = 0; j0 < b.rows; j0 += STRIP) {
      const j1 = Math.min(b.rows, j0 + STRIP);
      const jEnd = Math.min(j1, n2);
      for (let i = 0; i < a.rows; i += i < m4 ? 4 : 1) {
        const whole = i < m4;
        const from = a.start + i * a.stride + k0;
        for (let j = j0; j < j1; ) {
          const right = b.start + j * b.stride + k0;
          const to = c.start + i * c.stride + j;
          if (whole && j < jEnd) {
            tile({ a: from, b: right, c: to }, k, factor, a, b, c);
            j += 2;
            continue;
          }
          const rows = whole ? 4 : 1;
          for (let r = 0; r < rows; r++)
            c.data[to + r * c.stride]! += factor * dot(a.data, from + r * a.stride, b.data, right, k);
          j++;
        }
      }
    }
  }
}

/** a·bᵀ as a new row-major array, `a.rows` × `b.rows`. */
export function product(a: View, b: View): Float64Array {
  const c = new Float64Array(a.rows * b.rows);
  addProduct(viewOf(c, a.rows, b.rows), 1, a, b);
  return c;
}

/** The transpose of a row-major `rows` × `columns` array. */
export function transposed(x: Float64Array, rows: number, columns: number): Float64Array {
  const out = new Float64Array(x.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = x[r * columns + c]!;
  return out;
}

/** tr(d·h·dᵀ) for a row-major `rows` × `size` matrix and a symmetric `size` × `size` one. */
export function quadraticForm(d: Float64Array, rows: number, h: Float64Array, size: number): number {
  let sum = 0;
  const CHUNK = 64;
  for (let r = 0; r < rows; r += CHUNK) {
    const n = Math.min(CHUNK, rows - r);
    const dh = product(part(viewOf(d, rows, size), r, r + n, 0, size), viewOf(h, size, size));
    sum += dot(dh, 0, d, r * size, n * size);
  }
  return sum;
}
