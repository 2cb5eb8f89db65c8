import { lowRankFactors } from "../factorize/low-rank.ts";
import { matrix } from "../linalg/gemm.ts";
import { transposed } from "../linalg/product.ts";
import { solveRows, solveRowsUpper } from "../linalg/triangular.ts";
import { dampedFactor } from "./repair.ts";

/** Mean and mean square per channel. */
export interface ChannelMoments {
  readonly mean: Float64Array;
  readonly square: Float64Array;
}

/** y ≈ scale·x + shift per channel. */
export interface ChannelStub {
  readonly scale: Float64Array;
  readonly shift: Float64Array;
}

/** Variances below this share of a mean square are rounding. */
const CONSTANT = 1e-9;

/**
 * The affine map per channel of a branch's input that comes closest to what the branch adds, by least squares from the
 * moments of the input, of the branch and of their sum: the covariance is half of what the variances do not add up to.
 */
export function channelStub(x: ChannelMoments, y: ChannelMoments, sum: ChannelMoments): ChannelStub {
  const variance = (m: ChannelMoments, c: number): number => m.square[c]! - m.mean[c]! ** 2;
  const scale = x.mean.map((_, c) => {
    const own = variance(x, c);
    if (!(own > CONSTANT * x.square[c]!)) return 0;
    return (variance(sum, c) - own - variance(y, c)) / (2 * own);
  });
  return { scale, shift: y.mean.map((m, c) => m - scale[c]! * x.mean[c]!) };
}

/** Second moments of a branch's input x and of what it adds, y, both of `size` channels. */
export interface BranchMoments {
  readonly size: number;
  /** E[x xᵀ]. */
  readonly own: Float64Array;
  /** E[x yᵀ]. */
  readonly cross: Float64Array;
  readonly ownMean: Float64Array;
  readonly branchMean: Float64Array;
}

/** y ≈ up·down·x + shift. */
export interface LowRankStub {
  readonly rank: number;
  /** `rank` × `size`. */
  readonly down: Float64Array;
  /** `size` × `rank`. */
  readonly up: Float64Array;
  readonly shift: Float64Array;
}

/**
 * The affine map of a rank that comes closest to what a branch adds: reduced-rank regression, the leading directions of
 * the least-squares map in the covariance of its input. `damp` is a share of that covariance's mean diagonal.
 */
export function lowRankStub(m: BranchMoments, rank: number, damp: number): LowRankStub {
  const { size, ownMean, branchMean } = m;
  const centred = (a: Float64Array, right: Float64Array): Float64Array =>
    a.map((v, i) => v - ownMean[Math.floor(i / size)]! * right[i % size]!);
  const own = centred(m.own, ownMean);
  const map = transposed(centred(m.cross, branchMean), size, size);
  const factor = dampedFactor(own, size, damp);
  solveRows(factor, size, map, size);
  solveRowsUpper(factor, size, map, size);
  const weighing = { gram: own, size };
  const found = lowRankFactors({ weights: matrix(map, size, size), weighing, damp }, Math.min(rank, size));
  const low = Float64Array.from({ length: found.rank }, (_, r) =>
    ownMean.reduce((s, v, i) => s + found.right[r * size + i]! * v, 0),
  );
  const shift = branchMean.map((v, c) => low.reduce((s, x, r) => s - found.left[c * found.rank + r]! * x, v));
  return { rank: found.rank, down: found.right, up: found.left, shift };
}
