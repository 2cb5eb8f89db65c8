import { SQNR_CAP_DB } from "./sqnr.ts";

/** The interval samples live in: they are clipped to it and its length is the peak. */
export interface SampleRange {
  readonly low: number;
  readonly high: number;
}

/**
 * The range a sample is judged in. Pipelines that state one (pixels) use it; latents have none, so the reference's own
 * extremes stand in for it.
 */
export function rangeOf(sample: ArrayLike<number>, declared: SampleRange | null): SampleRange {
  if (declared !== null) return declared;
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < sample.length; i++) {
    const v = sample[i]!;
    if (v < low) low = v;
    if (v > high) high = v;
  }
  return high > low ? { low, high } : { low: low - 0.5, high: low + 0.5 };
}

/** Copy with every element inside the range; NaN becomes the lower end. */
export function clip(sample: ArrayLike<number>, range: SampleRange): Float64Array {
  const out = new Float64Array(sample.length);
  for (let i = 0; i < sample.length; i++) {
    const v = sample[i]!;
    out[i] = v > range.low ? Math.min(v, range.high) : range.low;
  }
  return out;
}

/**
 * Peak signal-to-noise ratio in dB of two samples clipped to the range: 10·log10(range² / MSE), capped at
 * {@link SQNR_CAP_DB} (equal samples have no error).
 */
export function psnr(reference: ArrayLike<number>, candidate: ArrayLike<number>, range: SampleRange): number {
  const a = clip(reference, range);
  const b = clip(candidate, range);
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  if (sum === 0) return SQNR_CAP_DB;
  const peak = range.high - range.low;
  return Math.min(SQNR_CAP_DB, 10 * Math.log10((peak * peak * a.length) / sum));
}
