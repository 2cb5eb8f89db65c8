import { cloneModel } from "./clone.ts";
import type { Model, TimeBuckets, ValueId } from "./graph.ts";
import { PatchBuilder } from "./patch.ts";
import { i64Tensor } from "./tensor.ts";

/** Timesteps from `from` up to but not including `until`; `null` where there is no end. */
export interface TimeRange {
  readonly from: number | null;
  readonly until: number | null;
}

/** The timesteps of every bucket, ascending: together they hold all numbers, each once. */
export function bucketRanges({ bounds }: Pick<TimeBuckets, "bounds">): TimeRange[] {
  return Array.from({ length: bounds.length + 1 }, (_, k) => ({
    from: bounds[k - 1] ?? null,
    until: bounds[k] ?? null,
  }));
}

/**
 * A copy of a model that serves bucket `k` alone: what is looked up by the bucket depends on the constant `bucket` and on
 * no input.
 */
export function inBucket(model: Model, k: number): { readonly model: Model; readonly bucket: ValueId } {
  const { buckets } = model;
  if (buckets === undefined) throw new Error("the model has no buckets");
  const { buckets: _, ...rest } = cloneModel(model);
  const { graph } = rest;
  if (graph.find(buckets.index) === undefined)
    throw new Error("a pass removed the bucket that constants are looked up by");
  const patch = new PatchBuilder(graph, "in-bucket");
  const bucket = patch.constant(i64Tensor([k]), "bucket");
  patch.redirect(buckets.index, bucket);
  patch.apply();
  return { model: rest, bucket };
}
