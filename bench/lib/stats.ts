import { createRng } from "../../src/numeric/rng.ts";
import { bootstrap, quantile } from "../../src/numeric/stats.ts";

/** Middle value. */
export function median(values: ArrayLike<number>): number {
  return quantile(values, 0.5);
}

/** Median of a series of ratios with its 95 % bootstrap interval. */
export function medianRatio(
  a: readonly number[],
  b: readonly number[],
): { median: number; low: number; high: number } {
  const ratios = Float64Array.from(a, (x, i) => x / b[i]!);
  const of = (units: Int32Array): number => median(Float64Array.from(units, (u) => ratios[u]!));
  const found = bootstrap(ratios.length, of, { rng: createRng(0, "bench") });
  return { median: found.estimate, low: found.low, high: found.high };
}
