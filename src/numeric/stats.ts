import type { Rng } from "./rng.ts";

/** A point estimate with a two-sided interval. */
export interface Interval {
  readonly estimate: number;
  readonly low: number;
  readonly high: number;
  /** Coverage asked for, for example 0.95. */
  readonly confidence: number;
  /** How many units (seeds) stand behind it. */
  readonly count: number;
}

/** Arithmetic mean in float64, Neumaier's compensated sum; NaN for no values. */
export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  let lost = 0;
  for (let i = 0; i < values.length; i++) {
    const x = values[i]!;
    const next = sum + x;
    lost += Math.abs(sum) >= Math.abs(x) ? sum - next + x : x - next + sum;
    sum = next;
  }
  // A sum that reached infinity leaves a NaN residue; the sum itself is then the answer.
  return (Number.isFinite(sum) ? sum + lost : sum) / values.length;
}

/** Unbiased sample variance; 0 for fewer than two values. */
export function variance(values: ArrayLike<number>): number {
  if (values.length < 2) return 0;
  const m = mean(values);
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i]! - m) ** 2;
  return sum / (values.length - 1);
}

/** Quantile with linear interpolation between order statistics (Hyndman and Fan type 7); NaN for no values. */
export function quantile(values: ArrayLike<number>, q: number): number {
  const sorted = Float64Array.from(values).sort();
  if (sorted.length === 0) return Number.NaN;
  const at = Math.min(Math.max(q, 0), 1) * (sorted.length - 1);
  const below = Math.floor(at);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  // Infinite metrics (an exact build has infinite SQNR) must not interpolate to NaN.
  return low === high ? low : low + (high - low) * (at - below);
}

export interface BootstrapOptions {
  readonly rng: Rng;
  /** Default 2000. */
  readonly resamples?: number;
  /** Default 0.95. */
  readonly confidence?: number;
}

/**
 * Percentile bootstrap (Efron 1979) over units, usually seeds: whole units are resampled with replacement, so
 * everything that belongs to one seed (original and compressed, all its steps) stays together. That pairing is what
 * makes the interval of a difference narrow. `statistic` sees indices into the units, repeats included.
 */
export function bootstrap(
  units: number,
  statistic: (indices: Int32Array) => number,
  options: BootstrapOptions,
): Interval {
  const confidence = options.confidence ?? 0.95;
  const indices = Int32Array.from({ length: units }, (_, i) => i);
  const estimate = statistic(indices);
  if (units < 2) return { estimate, low: estimate, high: estimate, confidence, count: units };
  const draws = new Float64Array(options.resamples ?? 2000);
  for (let r = 0; r < draws.length; r++) {
    for (let i = 0; i < units; i++) indices[i] = options.rng.int(units);
    draws[r] = statistic(indices);
  }
  const tail = (1 - confidence) / 2;
  return { estimate, low: quantile(draws, tail), high: quantile(draws, 1 - tail), confidence, count: units };
}

/** Bootstrap interval of the mean of one number per seed. */
export function bootstrapMean(values: ArrayLike<number>, options: BootstrapOptions): Interval {
  return bootstrap(values.length, (indices) => mean(Float64Array.from(indices, (i) => values[i]!)), options);
}

/** Bootstrap interval of the mean difference `candidate - reference`, paired by seed. The lengths must agree. */
export function pairedBootstrap(
  reference: ArrayLike<number>,
  candidate: ArrayLike<number>,
  options: BootstrapOptions,
): Interval {
  if (reference.length !== candidate.length) {
    throw new Error(`paired samples differ in length: ${reference.length} and ${candidate.length}`);
  }
  return bootstrapMean(
    Float64Array.from(reference, (x, i) => candidate[i]! - x),
    options,
  );
}
