import { bf16ToF32, f32ToBf16 } from "../bf16.ts";
import { roundF16 } from "../f16.ts";

/** The integers a weight may become, and which of them stands for zero. x ≈ (q - zero) · scale. */
export interface Grid {
  readonly lo: number;
  readonly hi: number;
  readonly signed: boolean;
  /** The zero point of every row, or `null` when each row chooses its own (asymmetric). */
  readonly zero: number | null;
}

/** Element types scales can have; a scale is rounded to its type before anything is quantized with it. */
export type ScaleType = "f32" | "f16" | "bf16";

/** How the range of a row is chosen. */
export interface RangeSearch {
  /** Exponent of the error that is minimised: 2, or 2.4 as in BRECQ (arXiv:2102.05426) and its descendants. */
  readonly power: 2 | 2.4;
  /** How many ranges are tried: (1 - i/100) of the full range for i = 0 … steps - 1. At most 100. */
  readonly steps: number;
}

/** Settings shared by all weight quantizers. */
export interface QuantizeOptions {
  readonly grid: Grid;
  /** `null` takes the full range. */
  readonly search: RangeSearch | null;
  readonly scaleType: ScaleType;
}

/**
 * Grid of 2, 4 or 8 bits. A symmetric unsigned grid has its zero in the middle (2^(bits-1)). `narrow` gives up the
 * lowest value, so that negative and positive range are equal.
 */
export function gridOf(g: {
  readonly bits: 2 | 4 | 8;
  readonly signed: boolean;
  readonly symmetric: boolean;
  readonly narrow?: boolean;
}): Grid {
  const half = 2 ** (g.bits - 1);
  const shift = g.signed ? 0 : half;
  const lo = -half + shift + (g.narrow === true ? 1 : 0);
  return { lo, hi: half - 1 + shift, signed: g.signed, zero: g.symmetric ? shift : null };
}

const SMALLEST: Readonly<Record<ScaleType, number>> = { f32: 2 ** -126, bf16: 2 ** -126, f16: 2 ** -14 };

/** A positive scale as its type can hold it: rounded to nearest, never below the smallest normal number. */
export function roundScale(scale: number, type: ScaleType): number {
  const s = Math.max(scale, SMALLEST[type]);
  if (type === "f16") return roundF16(s);
  if (type === "f32") return Math.fround(s);
  return bf16ToF32(f32ToBf16(Float32Array.of(s)))[0]!;
}

/** Index of the first NaN or infinity, or -1. */
export function firstNonFinite(x: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * 0;
  if (sum === 0) return -1;
  return x.findIndex((v) => !Number.isFinite(v));
}
