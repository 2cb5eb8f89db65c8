import {
  errorFeedback,
  type Factored,
  type FactorOptions,
  factorGram,
  push,
  SWEEP,
  type Sweep,
} from "./feedback.ts";
import type { Fit } from "./place.ts";
import { type BlockFit, type BlockProblem, blocksOf, emptyFit, nearest } from "./problem.ts";
import { fitNearest, fitWeighted } from "./weighted.ts";

/** What {@link gptq} may be given beside the problem. */
export interface GptqExtras {
  /** The factor of the Gram matrix, where it is at hand. */
  readonly factored?: Factored;
  /** Weights that are rounded, 1, and zeros that stay zero, 0. */
  readonly kept?: Uint8Array | null;
}

/** Scale of a block from its weights as the errors so far have shifted them; counts columns as rounding them will cost. */
function fitShifted(
  fit: Fit,
  p: BlockProblem,
  s: Sweep,
  r: number,
  j: number,
  scratch: Float64Array[],
): void {
  const n = Math.min(p.block, p.columns - j);
  const [shifted, cost] = scratch as [Float64Array, Float64Array];
  for (let i = 0; i < n; i++) {
    const shift = push(s, p.columns, r, j + i);
    s.errors[r * p.columns + j + i] = -shift;
    shifted[i] = p.weights[r * p.columns + j + i]! + shift;
    cost[i] = s.v[(j + i) * p.columns + j + i]! ** 2;
  }
  fitWeighted(fit, shifted, cost, n, p.options);
}

/** Integers and scales by {@link errorFeedback}. Needs a Gram matrix. */
export function gptq(p: BlockProblem, options: FactorOptions, extras: GptqExtras = {}): BlockFit {
  const { columns, block, gram } = p;
  if (gram === null) throw new Error("GPTQ needs a Gram matrix");
  const { grid } = p.options;
  const blocks = blocksOf(p);
  const factored = extras.factored ?? factorGram(gram, columns, options);
  const { kept } = extras;
  // Blocks longer than a stretch, or scattered by the order, keep the scales of the weights as they were.
  const ordered = factored.order.some((c, j) => c !== j);
  const fixed = options.actOrder || ordered || block > SWEEP || SWEEP % block !== 0;
  const out = fixed ? fitNearest(p) : emptyFit(p);
  const scratch = [new Float64Array(block), new Float64Array(block)];
  const fit: Fit = { scale: 1, zero: 0 };
  const choose = (s: Sweep, r: number, j: number, column: number, target: number): number => {
    const g = r * blocks + Math.floor(column / block);
    if (!fixed && j % block === 0) {
      fitShifted(fit, p, s, r, j, scratch);
      out.scale[g] = fit.scale;
      out.zero[g] = fit.zero;
    }
    const scale = out.scale[g]!;
    const zero = out.zero[g]!;
    if (kept?.[r * columns + column] === 0) {
      out.q[r * columns + column] = zero;
      return 0;
    }
    const q = nearest(target, scale, zero, grid);
    out.q[r * columns + column] = q;
    return Math.fround((q - zero) * scale);
  };
  errorFeedback(p, factored, { choose });
  return out;
}
