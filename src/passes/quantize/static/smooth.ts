import type { ValueStatistics } from "../../../calibrate/statistics/types.ts";
import type { RangeSearch } from "../../../numeric/quantize/activation.ts";
import { splitAxis } from "../../../runtime/kernels/kernel.ts";
import type { Quantizer } from "./grids.ts";
import type { StaticLayer } from "./sites.ts";
import { inputEnergy, kernelRows, levelsOf } from "./weights.ts";

/**
 * How much of the differences between channels moves from an activation into the weights that read it: nothing, what
 * promises the least error of the output, or a given share.
 */
export type Smoothing = "off" | "auto" | number;

/** Shares that `auto` tries beside none; below a half weights gain what activations lose. */
const SHARES = [0.5, 0.6, 0.7, 0.8, 0.9, 1];
/** Outputs of a layer whose weights are rounded to find a share: they are many of a kind. */
const ROWS = 256;

/** An activation that can absorb a factor per channel, and what reads it. */
export interface Smoothed {
  /** Grids with a scale per channel around one zero point, and with one scale for all. */
  readonly channels: Quantizer;
  readonly tensor: Quantizer;
  readonly statistics: ValueStatistics;
  readonly layers: readonly { readonly layer: StaticLayer; readonly weight: Float32Array }[];
  /** Weights have one scale per output; else one for all. */
  readonly perChannel: boolean;
}

/** Levels that activations and weights are rounded to. */
export interface Levels extends Pick<RangeSearch, "steps" | "float8"> {
  /** Weights have 4 bits in blocks; blocks are smoothed like rows. */
  readonly narrow?: boolean;
}

/** What was chosen. */
export interface SmoothChoice {
  /** `null`: one scale for all channels, nothing is moved. */
  readonly share: number | null;
  readonly input: Quantizer;
}

/** Largest weight that reads each channel. */
function reach({ layers, channels }: Smoothed): Float64Array {
  const n = channels.scale.length;
  const most = new Float64Array(n);
  for (const { layer, weight } of layers) {
    const { inner } = splitAxis(layer.weight.dims, layer.inAxis);
    for (const [i, v] of weight.entries()) {
      const c = Math.floor(i / inner) % n;
      most[c] = Math.max(most[c]!, Math.abs(v));
    }
  }
  return most;
}

/**
 * The scale of each channel when a share α of its range moves into the weights: S · range^α / weight^(1 − α)
 * (SmoothQuant, arXiv:2211.10438), S the least with which every channel keeps its range. α = 1 leaves each channel the
 * scale it would have alone, α = 0 scales by the weights only.
 */
export function sharedScale(scale: Float64Array, weight: Float64Array, share: number): Float64Array {
  const floor = weight.reduce((a, b) => Math.max(a, b), 0) * 1e-5 || 1;
  const s = scale.map((r, c) => r ** share / Math.max(weight[c]!, floor) ** (1 - share));
  const wide = scale.reduce((most, r, c) => Math.max(most, r / s[c]!), 0);
  return s.map((v) => v * wide);
}

/** What predictions for one activation share. */
interface Measured {
  /** Largest weight, and the sum of squared ones, that read each channel. */
  readonly most: Float64Array;
  readonly energy: Float64Array;
  /** One over the power of what the layers make at each call: what an error there weighs in decibels. */
  readonly calls: Float64Array;
  /** Mean square of each channel about what the bias corrects, weighed by call. */
  readonly variance: Float64Array;
}

function measure(x: Smoothed): Measured {
  const { statistics, layers, channels } = x;
  const { square, mean } = statistics;
  const n = channels.scale.length;
  const energy = new Float64Array(n);
  for (const { layer, weight } of layers)
    for (const [c, e] of inputEnergy(weight, layer).entries()) energy[c] = energy[c]! + e;
  const calls = Float64Array.from({ length: square.length / n }, (_, t) => {
    const power = energy.reduce((sum, e, c) => sum + e * square[t * n + c]!, 0);
    return power > 0 ? (n / square.length) * (1 / power) : 0;
  });
  const variance = new Float64Array(n);
  for (const [t, weight] of calls.entries())
    for (let c = 0; c < n; c++) {
      const about = channels.mean[c]! * (channels.profile?.[t] ?? 1);
      const i = t * n + c;
      const spread = square[i]! - 2 * about * mean[i]! + about ** 2;
      variance[c] = variance[c]! + weight * Math.max(0, spread);
    }
  return { most: reach(x), energy, calls, variance };
}

/** Squared rounding error of each channel of the calibrated sample on a grid, weighed by call. */
function activationErrors(
  x: Smoothed,
  scale: ArrayLike<number>,
  o: { readonly levels: Levels; readonly calls: Float64Array },
): Float64Array {
  const { channels, statistics } = x;
  const { steps, float8 } = o.levels;
  const float = float8 === true ? levelsOf(true).round : null;
  const n = channels.scale.length;
  const [zero] = channels.zero;
  const { sample, rows } = statistics;
  const sum = new Float64Array(n);
  for (let i = 0; i < sample.length; i++) {
    const c = i % n;
    const t = Math.floor(i / (n * rows));
    const s = scale[c]! * (channels.profile?.[t] ?? 1);
    const q =
      float?.(sample[i]! / s) ?? Math.min(steps, Math.max(0, Math.round(sample[i]! / s) + zero!)) - zero!;
    sum[c] = sum[c]! + (o.calls[t]! / rows) * (sample[i]! - q * s) ** 2;
  }
  return sum;
}

/** Σ over weights of the squared rounding error times the variance it meets, when channels are scaled so. */
function weightError(x: Smoothed, scale: Float64Array, m: Measured & { readonly levels: Levels }): number {
  const { most, variance } = m;
  const { largest, round } = levelsOf(m.levels.float8 === true, m.levels.narrow);
  const widest = scale.reduce((m, s, c) => Math.max(m, s * most[c]!), 0);
  let total = 0;
  for (const { layer, weight } of x.layers) {
    const stride = Math.ceil(layer.outputs / ROWS);
    const rows = kernelRows(weight, layer, { factor: scale, stride });
    let sum = 0;
    for (const row of rows) {
      const own = row.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
      const s = (x.perChannel ? own : widest) / largest;
      if (s === 0) continue;
      for (let k = 0; k < row.length; k++) {
        const c = k % variance.length;
        sum += ((round(row[k]! / s) * s - row[k]!) / scale[c]!) ** 2 * variance[c]!;
      }
    }
    total += (sum * layer.outputs) / rows.length;
  }
  return total;
}

/**
 * Predicts the error that quantizing input and weights with given channel scales causes in what the layers make,
 * relative to its power, mean over calls: rounding measured on the sample and on the weights, taken to be uncorrelated.
 */
export function predictor(x: Smoothed, levels: Levels): (scale: Float64Array) => number {
  const measured = measure(x);
  return (scale) => {
    const errors = activationErrors(x, scale, { levels, calls: measured.calls });
    const sum = weightError(x, scale, { ...measured, levels });
    return errors.reduce((total, e, c) => total + e * measured.energy[c]!, sum);
  };
}

/** Chooses channel scales; of equal ones the first, none before any. */
export function chooseSmoothing(x: Smoothed, how: Exclude<Smoothing, "off">, levels: Levels): SmoothChoice {
  const most = reach(x);
  const at = (share: number): Quantizer => ({
    ...x.channels,
    scale: sharedScale(x.channels.scale, most, share),
  });
  if (how !== "auto") return { share: how, input: at(how) };
  const predict = predictor(x, levels);
  // Without a share the range search may cut tails off, which a sample makes look better than it is: whole ranges are
  // compared.
  const widest = x.channels.scale.reduce((a, b) => Math.max(a, b), 0);
  let best: SmoothChoice = { share: null, input: x.tensor };
  let least = predict(new Float64Array(most.length).fill(widest));
  for (const share of SHARES) {
    const input = at(share);
    const error = predict(input.scale);
    if (error < least) [best, least] = [{ share, input }, error];
  }
  return best;
}
