import type { Statistics, ValueStatistics } from "../../../calibrate/statistics/types.ts";
import {
  type ActivationGrid,
  type ChannelExtremes,
  channelGrid,
  commonZeroGrid,
  type NormalisedSample,
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
export interface GridSettings {
  /** Follow the timestep when the range moves by at least this ratio; Infinity: one scale for all steps. */
  readonly timeTolerance: number;
  /** Power of the error the range search minimises. */
  readonly power: number;
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

/**
 * `common`: a scale per channel around one zero point. `channel`: a scale and zero point per channel. `tensor`: one of
 * each.
 */
export type Granularity = "common" | "channel" | "tensor";

/** Chooses the grid of an activation from its statistics. `importance`: one number per channel. */
export function quantizerOf(
  statistics: Statistics,
  v: ValueStatistics,
  importance: ArrayLike<number>,
  granularity: Granularity,
  settings: GridSettings,
): Quantizer {
  const calls = statistics.calls.length;
  const tensor = granularity === "tensor";
  const extremes = tensor ? pooled(v, calls) : extremesOf(v, calls);
  const split = splitTime(extremes, tensor ? [1] : importance, settings.timeTolerance);
  const values = withoutTime(v.sample, split.profile);
  const sample: NormalisedSample = { values, rows: values.length / extremes.channels };
  const grid =
    granularity === "channel"
      ? channelGrid(split, sample, settings.power)
      : commonZeroGrid(split, tensor ? [1] : importance, sample, settings.power);
  const moves = split.profile.some((p) => p !== 1);
  return { ...grid, profile: moves ? split.profile : null, mean: meanOf(v, calls, split.profile) };
}
