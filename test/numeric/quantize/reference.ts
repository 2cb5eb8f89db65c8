import { gridOf } from "../../../src/numeric/quantize/grid.ts";
import type { BlockProblem } from "../../../src/numeric/quantize/problem.ts";
import { createRng } from "../../../src/numeric/rng.ts";

/** Inputs of a layer: `positions × columns`, neighbours correlated, of different sizes, with a mean. */
export function inputsOf(positions: number, columns: number, seed: number): Float64Array {
  const rng = createRng(seed, "inputs");
  const x = new Float64Array(positions * columns);
  for (let p = 0; p < positions; p++) {
    let a = 0;
    for (let i = 0; i < columns; i++) {
      a = 0.8 * a + rng.normal();
      x[p * columns + i] = (a + 0.3) * (1 + (i % 5));
    }
  }
  return x;
}

/** Average x·xᵀ and x. */
export function momentsOf(x: Float64Array, columns: number): { gram: Float64Array; mean: Float64Array } {
  const gram = new Float64Array(columns * columns);
  const mean = new Float64Array(columns);
  const positions = x.length / columns;
  for (let p = 0; p < positions; p++)
    for (let i = 0; i < columns; i++) {
      mean[i]! += x[p * columns + i]! / positions;
      for (let j = 0; j < columns; j++)
        gram[i * columns + j]! += (x[p * columns + i]! * x[p * columns + j]!) / positions;
    }
  return { gram, mean };
}

/** A layer of normal weights with the Gram matrix of such inputs. */
export function problemOf(o: {
  rows: number;
  columns: number;
  block: number;
  seed: number;
  bits?: 2 | 4 | 8;
  symmetric?: boolean;
}): BlockProblem {
  const rng = createRng(o.seed, "weights");
  const { gram } = momentsOf(inputsOf(2 * o.columns, o.columns, o.seed), o.columns);
  return {
    weights: Float64Array.from({ length: o.rows * o.columns }, () => Math.fround(rng.normal() * 0.1)),
    rows: o.rows,
    columns: o.columns,
    block: o.block,
    gram,
    options: {
      grid: gridOf({ bits: o.bits ?? 4, signed: true, symmetric: o.symmetric ?? false }),
      search: { power: 2, steps: 80 },
      scaleType: "f16",
    },
  };
}

/** Inverse of a symmetric positive definite matrix by Gauss and Jordan. */
function inverse(m: Float64Array, n: number): Float64Array {
  const a = m.slice();
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) out[i * n + i] = 1;
  for (let c = 0; c < n; c++) {
    const pivot = a[c * n + c]!;
    for (let j = 0; j < n; j++) {
      a[c * n + j]! /= pivot;
      out[c * n + j]! /= pivot;
    }
    for (let r = 0; r < n; r++) {
      const f = a[r * n + c]!;
      if (r === c || f === 0) continue;
      for (let j = 0; j < n; j++) {
        a[r * n + j]! -= f * a[c * n + j]!;
        out[r * n + j]! -= f * out[c * n + j]!;
      }
    }
  }
  return out;
}

/**
 * Optimal brain quantization one input after the other as the GPTQ paper states it: the inverse Hessian of the inputs
 * still free, downdated after each, and all later weights moved. `choose` rounds a weight that has been moved so far.
 */
export function obq(
  p: BlockProblem,
  h: Float64Array,
  choose: (row: number, column: number, moved: Float64Array) => number,
): Float64Array {
  const n = p.columns;
  const out = new Float64Array(p.rows * n);
  for (let r = 0; r < p.rows; r++) {
    const w = p.weights.slice(r * n, (r + 1) * n);
    const inv = inverse(h, n);
    for (let j = 0; j < n; j++) {
      const q = choose(r, j, w);
      out[r * n + j] = q;
      const d = inv[j * n + j]!;
      const e = (w[j]! - q) / d;
      for (let i = j; i < n; i++) w[i]! -= e * inv[j * n + i]!;
      w[j] = q;
      const row = inv.slice(j * n, (j + 1) * n);
      for (let a = 0; a < n; a++) for (let b = 0; b < n; b++) inv[a * n + b]! -= (row[a]! * row[b]!) / d;
    }
  }
  return out;
}
