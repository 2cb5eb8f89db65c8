import { createRng } from "../../numeric/rng.ts";
import { bootstrap, quantile } from "../../numeric/stats.ts";

/** Two-sided 95 % bootstrap interval. */
export type Interval = readonly [low: number, high: number];

/** Replicates of the percentile bootstrap: 1000 keep the ends of a 95 % interval within a few percent of its width. */
const REPLICATES = 1000;

/**
 * Interval of a statistic over `count` seeds. A seed carries the reference's and the candidate's result together, so
 * the resampling is paired. The stream depends on the label only: the same numbers give the same interval.
 */
export function seedInterval(
  count: number,
  statistic: (seeds: Int32Array) => number,
  label: string,
): Interval {
  const found = bootstrap(count, statistic, { rng: createRng(0, "verify", label), resamples: REPLICATES });
  return [found.low, found.high];
}

/** One number per seed, summed up as the report shows it. */
export interface SeedSummary {
  readonly median: number;
  /** 10th percentile: the worst tenth of the seeds lies below. */
  readonly p10: number;
  /** Interval of the median. */
  readonly interval: Interval;
  readonly values: readonly number[];
}

/** Median, 10th percentile and interval of one number per seed. */
export function summarise(values: readonly number[], label: string): SeedSummary {
  return {
    median: quantile(values, 0.5),
    p10: quantile(values, 0.1),
    interval: seedInterval(
      values.length,
      (s) =>
        quantile(
          Float64Array.from(s, (i) => values[i]!),
          0.5,
        ),
      label,
    ),
    values,
  };
}
