/**
 * How the products of an 8-bit dot product are kept exact on processors that add two of them in 16 bits (x86 `vpmaddubsw`
 * without VNNI): an unsigned activation up to 255 times a signed weight, two neighbours along the summed axis.
 *
 * - `none`: weights use all of −127..127; sums of neighbours may saturate;
 * - `pairs`: every output channel has the finest scale at which no two neighbours can saturate, whatever the activation;
 * - `seven-bit`: weights stay within −63..63, onnxruntime's reduce_range.
 */
export type SaturationRule = "none" | "pairs" | "seven-bit";

/** 255 · 128 = 32640 fits in 16 bits, 255 · 129 = 32895 does not: two weights of one sign may add up to 128. */
export const LARGEST_PAIR = 128;
const LARGEST_WEIGHT = 127;
const LARGEST_SEVEN_BIT = 63;

/** Σ of neighbours that have the same sign: the largest over aligned pairs of a row, in units of the row. */
function largestPair(row: Float32Array): number {
  let most = 0;
  for (let k = 0; k < row.length; k += 2) {
    const a = row[k]!;
    const b = k + 1 < row.length ? row[k + 1]! : 0;
    most = Math.max(most, Math.max(a, 0) + Math.max(b, 0), Math.max(-a, 0) + Math.max(-b, 0));
  }
  return most;
}

/** Whether no two neighbours of a row, rounded to multiples of its scale, can saturate. */
export function pairsHold(row: Float32Array, scale: number): boolean {
  const q = (v: number): number => Math.min(LARGEST_WEIGHT, Math.max(-LARGEST_WEIGHT, Math.round(v / scale)));
  for (let k = 0; k < row.length; k += 2) {
    const a = q(row[k]!);
    const b = k + 1 < row.length ? q(row[k + 1]!) : 0;
    if (Math.max(a, 0) + Math.max(b, 0) > LARGEST_PAIR) return false;
    if (Math.max(-a, 0) + Math.max(-b, 0) > LARGEST_PAIR) return false;
  }
  return true;
}

/** Smallest scale: weights that need a finer one are subnormal, as good as zero. */
export const SMALLEST_SCALE = 2 ** -126;

/** Steps by which a scale grows until rounding no longer breaks a pair. */
const GROWTH = 1 + 1 / 1024;

/**
 * The finest symmetric scale of one output channel under a rule, a single-precision number: the rule holds for weights
 * divided by it and rounded, not for weights divided by a double near it. `row` holds the weights in the order the kernel
 * sums them: neighbours share an addition.
 */
export function exactScale(row: Float32Array, rule: SaturationRule): number {
  const most = row.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  if (most === 0) return 1;
  const atLeast = (scale: number): number => Math.fround(Math.max(scale, SMALLEST_SCALE));
  if (rule === "seven-bit") return atLeast(most / LARGEST_SEVEN_BIT);
  let scale = atLeast(most / LARGEST_WEIGHT);
  if (rule === "none") return scale;
  scale = Math.max(scale, atLeast(largestPair(row) / (LARGEST_PAIR + 1)));
  while (!pairsHold(row, scale)) scale = Math.fround(scale * GROWTH);
  return scale;
}
