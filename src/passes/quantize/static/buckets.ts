import type { Statistics } from "../../../calibrate/statistics/types.ts";
import { chooseBuckets, type RangeSeries } from "../../../numeric/quantize/buckets.ts";

/** Timesteps in buckets that share scales. */
export interface Buckets {
  /** Ascending: a bucket holds what is at least its lower bound and below its upper one. */
  readonly bounds: readonly number[];
  /** Bucket of each calibrated call. */
  readonly bucketOf: Int32Array;
}

/** Largest magnitude at each of the timesteps, all channels together. */
function magnitudes(statistics: Statistics, name: string, timesteps: readonly number[]): RangeSeries | null {
  const v = statistics.value(name);
  if (v === undefined) return null;
  const range = new Float64Array(timesteps.length);
  for (const [t, { timestep }] of statistics.calls.entries()) {
    const at = timesteps.indexOf(timestep);
    for (let i = t * v.channels; i < (t + 1) * v.channels; i++)
      range[at] = Math.max(range[at]!, v.max[i]!, -v.min[i]!);
  }
  return { range, weight: v.count * v.channels };
}

/**
 * Cuts the calibrated timesteps into at most `most` buckets where the ranges of activations move, boundaries shared by
 * all of them and each weighing as many elements as it has. Boundaries lie midway between calibrated timesteps.
 * `tolerance` is the ratio of ranges that is not worth a bucket.
 */
export function cutTime(
  statistics: Statistics,
  values: readonly string[],
  o: { readonly most: number; readonly tolerance: number },
): Buckets {
  const timesteps = [...new Set(statistics.calls.map((c) => c.timestep))].sort((a, b) => a - b);
  const series = values.flatMap((name) => magnitudes(statistics, name, timesteps) ?? []);
  const { starts } = chooseBuckets(series, {
    calls: timesteps.length,
    most: o.most,
    tolerance: Math.log(o.tolerance),
  });
  const bounds = starts.slice(1).map((s) => Math.fround((timesteps[s - 1]! + timesteps[s]!) / 2));
  const bucketOf = Int32Array.from(statistics.calls, (c) => bounds.filter((b) => c.timestep >= b).length);
  return { bounds, bucketOf };
}
