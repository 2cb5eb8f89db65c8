import { matrix, multiply } from "../linalg/gemm.ts";
import { dot } from "../linalg/product.ts";
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
  const gram = matrix(h, columns, columns);
  const times = (a: Float64Array): Float64Array => {
    const out = multiply(matrix(a, rows, columns), gram);
    for (let i = 0; i < out.length; i++) out[i]! *= kept[i]!;
    return out;
  };
  const inverse = Float64Array.from({ length: columns }, (_, i) => 1 / h[i * (columns + 1)]!);
  const residual = times(m.weights.map((w, i) => w - x[i]!));
  const direction = new Float64Array(x.length);
  /** Per row, the squared norm of the residual in the metric of the inverse diagonal. */
  const sizes = (): Float64Array => {
    const out = new Float64Array(rows);
    for (let r = 0, i = 0; r < rows; r++)
      for (let c = 0; c < columns; c++, i++) out[r]! += residual[i]! ** 2 * inverse[c]!;
    return out;
  };
  let size = sizes();
  const enough = size.map((s) => s * options.tolerance ** 2);
  let last: Float64Array | null = null;
  for (let step = 0; step < options.steps && size.some((s, r) => s > enough[r]!); step++) {
    for (let r = 0, i = 0; r < rows; r++) {
      const turn = last === null || !(last[r]! > 0) ? 0 : size[r]! / last[r]!;
      for (let c = 0; c < columns; c++, i++) direction[i] = residual[i]! * inverse[c]! + turn * direction[i]!;
    }
    const moved = times(direction);
    for (let r = 0; r < rows; r++) {
      const at = r * columns;
      const curve = dot(direction, at, moved, at, columns);
      if (!(curve > 0)) continue;
      const length = size[r]! / curve;
      for (let i = at; i < at + columns; i++) {
        x[i]! += length * direction[i]!;
        residual[i]! -= length * moved[i]!;
      }
    }
    last = size;
    size = sizes();
  }
  return x;
}
