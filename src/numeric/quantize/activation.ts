/** Levels of an unsigned 8-bit grid above its lowest one. */
export const U8_STEPS = 255;
/** Levels of an unsigned 16-bit grid above its lowest one. */
export const U16_STEPS = 65535;
/** Levels of a signed 8-bit grid from −127 to 127 above its lowest one. */
export const S8_STEPS = 254;
/** Levels of a signed 16-bit grid from −32767 to 32767 above its lowest one. */
export const S16_STEPS = 65534;

/** Twice the largest E4M3FN number: in units of its scale an fp8 grid reaches as far as integers around 448 would. */
export const F8_STEPS = 896;

/** How the range of an activation is searched. */
export interface RangeSearch {
  /** Power of the error that is minimised. */
  readonly power: number;
  /** Levels of the grid above its lowest one; even where it is symmetric. */
  readonly steps: number;
  /** The zero point is the middle of the grid. */
  readonly symmetric?: boolean;
  /** Scales are powers of two. */
  readonly powerOfTwo?: boolean;
  /**
   * Levels are the numbers of E4M3FN between −448 and 448, not all integers. Its steps grow with the number, so a
   * narrower range gains nothing and is not looked for.
   */
  readonly float8?: boolean;
}

/** Extremes of one activation per model call and channel, call slowest. */
export interface ChannelExtremes {
  readonly calls: number;
  readonly channels: number;
  readonly min: Float64Array;
  readonly max: Float64Array;
}

/**
 * Extremes split into a shape over channels and a factor over calls, so that a channel at a call lies within
 * `profile[call] · [low[channel], high[channel]]`.
 */
export interface TimeSplit {
  /** Positive, mean 1, or powers of two near that. All ones when the range moves by less than the tolerance. */
  readonly profile: Float64Array;
  readonly low: Float64Array;
  readonly high: Float64Array;
}

/** What decides how far a range follows time. */
export interface TimeRule {
  /** Ratio of largest to smallest factor below which time is ignored. */
  readonly tolerance: number;
  /** Factors are powers of two, so that a scale that is one stays one at every call. */
  readonly powerOfTwo?: boolean;
}

/** Smallest width a channel is given: a constant channel must still have a finite scale. */
const SMALLEST_WIDTH = 1e-7;

/**
 * Separates what time does to a range from what distinguishes channels. The factor of a call is the importance-weighted
 * root mean square of the channel widths at it. `importance` holds one non-negative number per channel (the energy of the
 * weights that read it).
 */
export function splitTime(x: ChannelExtremes, importance: ArrayLike<number>, rule: TimeRule): TimeSplit {
  const { calls, channels, min, max } = x;
  let profile = new Float64Array(calls);
  for (let t = 0; t < calls; t++) {
    let sum = 0;
    for (let c = 0; c < channels; c++) {
      const i = t * channels + c;
      sum += importance[c]! * Math.max(max[i]!, -min[i]!) ** 2;
    }
    profile[t] = Math.sqrt(sum);
  }
  const mean = profile.reduce((a, b) => a + b, 0) / calls;
  const least = profile.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const most = profile.reduce((a, b) => Math.max(a, b), 0);
  profile =
    mean > 0 && least > 0 && most / least >= rule.tolerance
      ? profile.map((p) => factorOf(p / mean, rule))
      : new Float64Array(calls).fill(1);
  const low = new Float64Array(channels);
  const high = new Float64Array(channels);
  for (let t = 0; t < calls; t++)
    for (let c = 0; c < channels; c++) {
      const i = t * channels + c;
      low[c] = Math.min(low[c]!, min[i]! / profile[t]!);
      high[c] = Math.max(high[c]!, max[i]! / profile[t]!);
    }
  return { profile, low, high };
}

const factorOf = (p: number, { powerOfTwo }: TimeRule): number =>
  powerOfTwo === true ? 2 ** Math.round(Math.log2(p)) : p;

/** Values of one activation with time divided out, `rows × channels`. */
export interface NormalisedSample {
  readonly rows: number;
  readonly values: Float32Array;
}

/** A grid per channel: x ≈ (q − zero) · scale[channel] · profile[call], q in 0..steps. */
export interface ActivationGrid {
  readonly scale: Float64Array;
  /** One zero point for all channels, or one per channel. */
  readonly zero: Int32Array;
}

/**
 * A range is made this much wider than what calibration saw: other seeds go a little further, and what is cut off is cut
 * off at every step, so that it adds up in the sample, while rounding averages out.
 */
export const HEADROOM = 1.05;

/** Values below which a range is not searched: the search cuts off tails that a few values do not show. */
export const SEARCHED_VALUES = 4096;

/** Shrink factors tried by the range search, from the full range down (BRECQ's grid, coarser). */
const SHRINKS = Float64Array.from({ length: 12 }, (_, i) => 1 - 0.04 * i);

/** Σ |x − x̂|^power of one channel of a sample on a grid. */
function channelError(
  sample: NormalisedSample,
  channels: number,
  c: number,
  grid: { readonly scale: number; readonly zero: number },
  { power, steps }: RangeSearch,
): number {
  const { scale, zero } = grid;
  let sum = 0;
  for (let r = 0; r < sample.rows; r++) {
    const x = sample.values[r * channels + c]!;
    const q = Math.min(steps, Math.max(0, Math.round(x / scale) + zero));
    const e = Math.abs(x - (q - zero) * scale);
    sum += power === 2 ? e * e : e ** power;
  }
  return sum;
}

function widthOf(low: number, high: number): number {
  return Math.max(high - low, SMALLEST_WIDTH);
}

/** The scale that fits [low, high] around a fixed zero point. */
function scaleAround(low: number, high: number, zero: number, steps: number): number {
  const up = zero < steps ? Math.max(high, 0) / (steps - zero) : high > 0 ? Number.POSITIVE_INFINITY : 0;
  const down = zero > 0 ? Math.max(-low, 0) / zero : low < 0 ? Number.POSITIVE_INFINITY : 0;
  return Math.max(up, down, SMALLEST_WIDTH / steps);
}

/** The smallest power of two that is at least `scale`, up to rounding. */
export function powerOfTwoAbove(scale: number): number {
  return 2 ** Math.ceil(Math.log2(scale) - 1e-6);
}

/** The shrink of a channel's scale with the least error on the sample. */
function shrunk(
  sample: NormalisedSample,
  channels: number,
  c: number,
  full: { readonly scale: number; readonly zero: number },
  search: RangeSearch,
): number {
  const allowed = (s: number): number => (search.powerOfTwo === true ? powerOfTwoAbove(s) : s);
  if (sample.rows < SEARCHED_VALUES || search.float8 === true) return allowed(full.scale * HEADROOM);
  let best = allowed(full.scale);
  let least = Number.POSITIVE_INFINITY;
  for (const scale of new Set(SHRINKS.map((f) => allowed(full.scale * f)))) {
    const error = channelError(sample, channels, c, { scale, zero: full.zero }, search);
    if (error < least) {
      least = error;
      best = scale;
    }
  }
  return best;
}

/**
 * One zero point for all channels and a scale each: what a convolution with zero padding needs, since it pads with the
 * zero point. The zero point is the one with the least importance-weighted rounding error Σ importance · scale²,
 * of 256 candidates whatever the number of steps: finer ones would widen the range by less than 1 in 256. A symmetric
 * grid has its zero point in the middle.
 */
export function commonZeroGrid(
  split: TimeSplit,
  importance: ArrayLike<number>,
  sample: NormalisedSample,
  search: RangeSearch,
): ActivationGrid {
  const channels = split.low.length;
  const { steps } = search;
  const stride = Math.max(1, Math.floor(steps / U8_STEPS));
  const middle = steps / 2;
  const [first, last] = search.symmetric === true ? [middle, middle] : [0, steps];
  let zero = first;
  let least = Number.POSITIVE_INFINITY;
  for (let z = first; z <= last; z += stride) {
    let cost = 0;
    for (let c = 0; c < channels; c++)
      cost += importance[c]! * scaleAround(split.low[c]!, split.high[c]!, z, steps) ** 2;
    if (cost < least) {
      least = cost;
      zero = z;
    }
  }
  const scale = Float64Array.from({ length: channels }, (_, c) =>
    shrunk(
      sample,
      channels,
      c,
      { scale: scaleAround(split.low[c]!, split.high[c]!, zero, steps), zero },
      search,
    ),
  );
  return { scale, zero: Int32Array.of(zero) };
}

/** A scale and a zero point per channel; zero is exactly representable. */
export function channelGrid(split: TimeSplit, sample: NormalisedSample, search: RangeSearch): ActivationGrid {
  const { steps } = search;
  const channels = split.low.length;
  const scale = new Float64Array(channels);
  const zero = new Int32Array(channels);
  for (let c = 0; c < channels; c++) {
    const low = Math.min(split.low[c]!, 0);
    const high = Math.max(split.high[c]!, 0);
    const full = widthOf(low, high) / steps;
    zero[c] = Math.min(steps, Math.max(0, Math.round(-low / full)));
    scale[c] = shrunk(sample, channels, c, { scale: full, zero: zero[c]! }, search);
  }
  return { scale, zero };
}

/** A sample whose calls are divided by the profile: `calls × rows × channels` in, the same order out. */
export function withoutTime(sample: Float32Array, profile: Float64Array): Float32Array {
  const each = sample.length / profile.length;
  return sample.map((v, i) => v / profile[Math.floor(i / each)]!);
}
