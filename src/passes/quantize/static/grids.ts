import type { Statistics, ValueStatistics } from "../../../calibrate/statistics/types.ts";
import {
  type ActivationGrid,
  type ChannelExtremes,
  channelGrid,
  commonZeroGrid,
  type NormalisedSample,
  type RangeSearch,
  splitTime,
  withoutTime,
} from "../../../numeric/quantize/activation.ts";
import type { Profile } from "./clock.ts";

/** The grid of one activation: x ≈ (q − zero) · scale · profile. */
export interface Quantizer extends ActivationGrid {
  readonly profile: Profile;
  /** Mean of x / profile per channel, over all calls. */
  readonly mean: Float64Array;
}

/** How activations are gridded. */
export interface GridSettings extends RangeSearch {
  /** Follow the timestep when the range moves by at least this ratio; Infinity: one scale for all steps. */
  readonly timeTolerance: number;
  /** Bucket of each call: calls of one bucket share a range. `null`: every call has its own. */
  readonly bucketOf: Int32Array | null;
}

function extremesOf(v: ValueStatistics, calls: number): ChannelExtremes {
  return { calls, channels: v.channels, min: v.min, max: v.max };
}

/** All channels as one. */
function pooled(v: ValueStatistics, calls: number): ChannelExtremes {
  const min = new Float64Array(calls).fill(Number.POSITIVE_INFINITY);
  const max = new Float64Array(calls).fill(Number.NEGATIVE_INFINITY);
  for (let i = 0; i < v.min.length; i++) {
    const t = Math.floor(i / v.channels);
    min[t] = Math.min(min[t]!, v.min[i]!);
    max[t] = Math.max(max[t]!, v.max[i]!);
  }
  return { calls, channels: 1, min, max };
}

function meanOf(v: ValueStatistics, calls: number, profile: Float64Array): Float64Array {
  const mean = new Float64Array(v.channels);
  for (let t = 0; t < calls; t++)
    for (let c = 0; c < v.channels; c++)
      mean[c] = mean[c]! + v.mean[t * v.channels + c]! / profile[t]! / calls;
  return mean;
}

/** Every call gets the widest range of its bucket, channel by channel. */
function shareCalls(x: ChannelExtremes, bucketOf: Int32Array): ChannelExtremes {
  const { calls, channels } = x;
  const count = Math.max(...bucketOf) + 1;
  const low = new Float64Array(count * channels).fill(Number.POSITIVE_INFINITY);
  const high = new Float64Array(count * channels).fill(Number.NEGATIVE_INFINITY);
  const each = (at: (here: number, there: number) => void): void => {
    for (let t = 0; t < calls; t++)
      for (let c = 0; c < channels; c++) at(bucketOf[t]! * channels + c, t * channels + c);
  };
  each((b, i) => {
    low[b] = Math.min(low[b]!, x.min[i]!);
    high[b] = Math.max(high[b]!, x.max[i]!);
  });
  const [min, max] = [new Float64Array(x.min.length), new Float64Array(x.max.length)];
  each((b, i) => {
    min[i] = low[b]!;
    max[i] = high[b]!;
  });
  return { ...x, min, max };
}

/**
 * `common`: a scale per channel around one zero point. `channel`: a scale and zero point per channel. `tensor`: one of
 * each.
 */
export type Granularity = "common" | "channel" | "tensor";

/** Groups of channels that share a range get the widest of it. */
function shareRanges(x: ChannelExtremes, sources: Int32Array): ChannelExtremes {
  const min = x.min.slice();
  const max = x.max.slice();
  const groups = Math.max(...sources) + 1;
  for (let t = 0; t < x.calls; t++) {
    const low = new Float64Array(groups).fill(Number.POSITIVE_INFINITY);
    const high = new Float64Array(groups).fill(Number.NEGATIVE_INFINITY);
    for (const [c, g] of sources.entries()) {
      low[g] = Math.min(low[g]!, x.min[t * x.channels + c]!);
      high[g] = Math.max(high[g]!, x.max[t * x.channels + c]!);
    }
    for (const [c, g] of sources.entries()) {
      min[t * x.channels + c] = low[g]!;
      max[t * x.channels + c] = high[g]!;
    }
  }
  return { ...x, min, max };
}

/** What a grid is chosen from. */
export interface Gridded {
  readonly statistics: Statistics;
  readonly value: ValueStatistics;
  /** One number per channel: how much an error of it weighs. */
  readonly importance: ArrayLike<number>;
  readonly granularity: Granularity;
  /** Channels with equal numbers share a range; `null`: each has its own. */
  readonly sources: Int32Array | null;
}

/** Chooses the grid of an activation from its statistics. */
export function quantizerOf(x: Gridded, settings: GridSettings): Quantizer {
  const { statistics, value: v, importance, granularity, sources } = x;
  const calls = statistics.calls.length;
  const tensor =
    granularity === "tensor" || (granularity === "common" && sources === null && v.channels === 1);
  const own = tensor ? pooled(v, calls) : extremesOf(v, calls);
  const shared = sources === null || tensor ? own : shareRanges(own, sources);
  const extremes = settings.bucketOf === null ? shared : shareCalls(shared, settings.bucketOf);
  const weights = tensor ? [1] : importance;
  const { timeTolerance: tolerance, powerOfTwo } = settings;
  const split = splitTime(extremes, weights, { tolerance, powerOfTwo: powerOfTwo === true });
  const values = withoutTime(v.sample, split.profile);
  // A shared range is not searched channel by channel: that would undo the sharing.
  const sample: NormalisedSample = { values, rows: sources === null ? values.length / extremes.channels : 0 };
  const grid =
    granularity === "channel"
      ? channelGrid(split, sample, settings)
      : commonZeroGrid(split, weights, sample, settings);
  const moves = split.profile.some((p) => p !== 1);
  return { ...grid, profile: moves ? split.profile : null, mean: meanOf(v, calls, split.profile) };
}
