import { type PatternName, patternOf } from "../sparsify/pattern.ts";
import { pruneWeight } from "../sparsify/prune-weight.ts";
import { type LayerError, layerError } from "./error.ts";
import { type Factored, factorGram } from "./feedback.ts";
import { gptq } from "./gptq.ts";
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

/** Zeros that are fitted together with the integers; a type and not an interface, so that it is JSON. */
export type SparseFit = {
  readonly pattern: PatternName;
  /** Share of zeros of patterns that do not say it themselves. */
  readonly ratio: number;
  /** Taps of a convolution's kernel, 1 for matrix products. */
  readonly taps: number;
};

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
  /** `null`: no new zeros. Not for `hqq`, and not beside a branch. */
  readonly sparse: SparseFit | null;
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

/** Zeros and the values of the weights that stay, as `sparsify-weights` would find them. */
function pruned(p: BlockProblem, o: FitOptions, { pattern, ratio, taps }: SparseFit): Float64Array {
  const blind = p.gram === null;
  return pruneWeight(p, {
    criterion: blind ? "magnitude" : "obs",
    repair: blind ? "none" : "least-squares",
    pattern: patternOf(pattern, ratio),
    taps,
    damp: o.damp,
    actOrder: false,
  }).approximation;
}

/** Zeros of a weight, 0, which error feedback would otherwise fill; `null` where it has none. */
function zerosOf(weights: Float64Array): Uint8Array | null {
  return weights.includes(0) ? Uint8Array.from(weights, (w) => (w === 0 ? 0 : 1)) : null;
}

function integers(p: BlockProblem, o: FitOptions, factored: Factored | null): BlockFit {
  if (o.method === "hqq") return hqq(p).fit;
  if (factored === null) return fitNearest(p);
  const kept = o.rank > 0 ? null : zerosOf(p.weights);
  const plain = gptq(p, o, { factored, kept });
  if (o.method === "gptq") return plain;
  refine(p, plain, { ...o, kept });
  return plain;
}

function plus(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((x, i) => x + b[i]!);
}

/**
 * Integers alone, then branch and integers in turn while that helps. With `sparse`, zeros and the least-squares values
 * of the rest come first and are what is rounded: around the least error for these zeros, error feedback and rounding on
 * the weights that stay minimise the error of the whole. Rounding in the sweep that picks the zeros, as SparseGPT does,
 * leaves no room for those values and ends 1 to 2 dB lower.
 */
export function fitWeight(p: BlockProblem, o: FitOptions): FittedWeight {
  if (o.sparse !== null && o.rank > 0) throw new Error("a branch would fill the zeros of a sparse weight");
  const sweeps = o.method === "gptq" || o.method === "rounding";
  const factored = p.gram !== null && sweeps ? factorGram(p.gram, p.columns, o) : null;
  const target = o.sparse === null ? p : { ...p, weights: pruned(p, o, o.sparse) };
  const alone = integers(target, o, factored);
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
