import { product, viewOf } from "../linalg/product.ts";
import type { LayerError } from "../quantize/error.ts";
import type { InputMoments } from "../refit-error.ts";
import type { Projection } from "./heads.ts";

/** A query or key projection before and after it was narrowed, with moments of its inputs. */
export interface NarrowedSide {
  readonly before: Omit<Projection, "inputs">;
  readonly after: Omit<Projection, "inputs">;
  readonly moments: InputMoments;
}

/** Rows [from, from + count) of a projection with their biases as a last column. */
function withBias(p: NarrowedSide["before"], from: number, count: number, columns: number): Float64Array {
  const out = new Float64Array(count * (columns + 1));
  for (let r = 0; r < count; r++) {
    const at = from + r;
    out.set(p.weights.subarray(at * columns, (at + 1) * columns), r * (columns + 1));
    out[r * (columns + 1) + columns] = p.bias?.[at] ?? 0;
  }
  return out;
}

/** Moments of inputs with a constant 1 behind them. */
function augmented({ gram, mean, size }: InputMoments): Float64Array {
  const n = size + 1;
  const out = new Float64Array(n * n);
  for (let i = 0; i < size; i++) {
    out.set(gram.subarray(i * size, (i + 1) * size), i * n);
    out[i * n + size] = mean[i]!;
    out[size * n + i] = mean[i]!;
  }
  out[n * n - 1] = 1;
  return out;
}

/** E[y yᵀ] of one head's outputs, those of the whole head first, those of the narrow one below. */
function stacked(side: NarrowedSide, head: number, width: number, rank: number): Float64Array {
  const { size } = side.moments;
  const whole = withBias(side.before, head * width, width, size);
  const narrow = withBias(side.after, head * rank, rank, size);
  const rows = width + rank;
  const both = new Float64Array(rows * (size + 1));
  both.set(whole);
  both.set(narrow, whole.length);
  const seen = product(viewOf(both, rows, size + 1), viewOf(augmented(side.moments), size + 1, size + 1));
  return product(viewOf(seen, rows, size + 1), viewOf(both, rows, size + 1));
}

/**
 * E(qᵀk - q′ᵀk′)² and E(qᵀk)² summed over heads, for queries and keys that are independent and have any moments: with
 * the outputs of both heads stacked, a product of their second moments in which mixed terms count negatively.
 */
export function scoreError(
  q: NarrowedSide,
  k: NarrowedSide,
  { heads, width, rank }: { readonly heads: number; readonly width: number; readonly rank: number },
): LayerError {
  const n = width + rank;
  let [noise, signal] = [0, 0];
  for (let h = 0; h < heads; h++) {
    const [a, b] = [stacked(q, h, width, rank), stacked(k, h, width, rank)];
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) {
        const term = a[i * n + j]! * b[i * n + j]!;
        noise += i < width === j < width ? term : -term;
        if (i < width && j < width) signal += term;
      }
  }
  return { noise: Math.max(0, noise), signal };
}
