import { type LayerError, layerError } from "./error.ts";
import { type Factored, factorGram, gptq } from "./gptq.ts";
import { hqq } from "./hqq.ts";
import { type Branch, branchProduct, gramRoot, lowRankBranch } from "./low-rank.ts";
import { type BlockFit, type BlockProblem, restored } from "./problem.ts";
import { refine } from "./refine.ts";
import { fitNearest } from "./weighted.ts";

/**
 * How integers are found: `nearest` on data-aware ranges, `hqq` without data, `gptq` one input after the other with
 * error feedback, `rounding` by coordinate descent from there.
 */
export type FitMethod = "nearest" | "hqq" | "gptq" | "rounding";

/** Settings of {@link fitWeight}. */
export interface FitOptions {
  readonly method: FitMethod;
  /** Share of the mean diagonal added to the Gram matrix. */
  readonly damp: number;
  readonly actOrder: boolean;
  /** Passes of coordinate descent. */
  readonly rounds: number;
  /** Rank of the branch in half precision that takes up the error; 0 for none. */
  readonly rank: number;
}

/** A stored weight: ŵ = (q - zero)·scale + left·right. */
export interface FittedWeight {
  readonly fit: BlockFit;
  readonly branch: Branch | null;
  readonly approximation: Float64Array;
  /** In the measure of the Gram matrix. */
  readonly error: LayerError;
}

/** Most alternations between branch and integers. */
const REFITS = 4;

/** An alternation that gains less than this share of the error is the last. */
const LEAST_GAIN = 0.005;

function integers(p: BlockProblem, o: FitOptions, factored: Factored | null): BlockFit {
  if (o.method === "hqq") return hqq(p).fit;
  if (factored === null) return fitNearest(p);
  const plain = gptq(p, o, factored);
  if (o.method === "gptq") return plain;
  refine(p, plain, o);
  return plain;
}

function plus(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((x, i) => x + b[i]!);
}

/** Integers alone, then branch and integers in turn while that helps. */
export function fitWeight(p: BlockProblem, o: FitOptions): FittedWeight {
  const sweeps = o.method === "gptq" || o.method === "rounding";
  const factored = p.gram !== null && sweeps ? factorGram(p.gram, p.columns, o) : null;
  const alone = integers(p, o, factored);
  const approximation = restored(p, alone);
  const error = layerError(p.weights, approximation, p);
  const none: FittedWeight = { fit: alone, branch: null, approximation, error };
  if (o.rank === 0) return none;
  const root = p.gram === null ? null : gramRoot(p.gram, p.columns, o.damp);
  let last: FittedWeight = none;
  let best: FittedWeight | null = null;
  for (let i = 0; i < REFITS; i++) {
    const quantized = restored(p, last.fit);
    const residual = p.weights.map((w, j) => w - quantized[j]!);
    const branch = lowRankBranch(residual, p, o.rank, root);
    const part = branchProduct(branch, p.rows, p.columns);
    // The integers come last: they make up for the rounding of the branch.
    const rest = { ...p, weights: p.weights.map((w, j) => w - part[j]!) };
    const fit = integers(rest, o, factored);
    const approximation = plus(restored(p, fit), part);
    last = { fit, branch, approximation, error: layerError(p.weights, approximation, p) };
    const before = best?.error.noise ?? Number.POSITIVE_INFINITY;
    if (last.error.noise < before) best = last;
    if (last.error.noise > before * (1 - LEAST_GAIN)) break;
  }
  return best!;
}
