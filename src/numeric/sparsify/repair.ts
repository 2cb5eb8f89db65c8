import { product, viewOf } from "../linalg/product.ts";
import type { Matrix } from "../quantize/feedback.ts";

/** How far {@link leastSquares} goes. */
export interface RepairOptions {
  /** Share of the first residual, in the norm of the diagonal, at which a row is done. */
  readonly tolerance: number;
  readonly steps: number;
}

/**
 * The kept weights of every row that minimise (ŵ-w)·h·(ŵ-w)ᵀ with all others zero: conjugate gradients on the kept part
 * of h, preconditioned by its diagonal, all rows at once, O(rows·columns²) a step. `start` is a matrix with these zeros;
 * the error never grows from there. `h` is positive definite.
 */
export function leastSquares(
  m: Matrix,
  h: Float64Array,
  start: { readonly kept: Uint8Array; readonly weights: Float64Array },
  options: RepairOptions,
): Float64Array {
  const { rows, columns } = m;
  const { kept } = start;
  const x = start.weights.slice();
  const times = (a: Float64Array): Float64Array =>
    product(viewOf(a, rows, columns), viewOf(h, columns, columns)).map((q, i) => q * kept[i]!);
  const scaled = (r: Float64Array): Float64Array => r.map((v, i) => v / h[(i % columns) * (columns + 1)]!);
  const residual = times(m.weights.map((w, i) => w - x[i]!));
  let z = scaled(residual);
  const direction = z.slice();
  const sizes = (a: Float64Array, b: Float64Array): Float64Array => {
    const out = new Float64Array(rows);
    for (let i = 0; i < a.length; i++) out[Math.floor(i / columns)]! += a[i]! * b[i]!;
    return out;
  };
  let size = sizes(residual, z);
  const enough = size.map((s) => s * options.tolerance ** 2);
  for (let step = 0; step < options.steps && size.some((s, r) => s > enough[r]!); step++) {
    const moved = times(direction);
    const curve = sizes(direction, moved);
    for (let i = 0; i < x.length; i++) {
      const r = Math.floor(i / columns);
      if (!(curve[r]! > 0)) continue;
      const length = size[r]! / curve[r]!;
      x[i]! += length * direction[i]!;
      residual[i]! -= length * moved[i]!;
    }
    z = scaled(residual);
    const next = sizes(residual, z);
    for (let i = 0; i < x.length; i++) {
      const r = Math.floor(i / columns);
      direction[i] = z[i]! + (size[r]! > 0 ? (next[r]! / size[r]!) * direction[i]! : 0);
    }
    size = next;
  }
  return x;
}
