import { cloneModel } from "./clone.ts";
import type { Model, TimeBuckets } from "./graph.ts";
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

/** A copy of a model that serves bucket `k` alone: what is looked up by the bucket no longer depends on any input. */
export function inBucket(model: Model, k: number): Model {
  const { buckets } = model;
  if (buckets === undefined) throw new Error("the model has no buckets");
  const { buckets: _, ...rest } = cloneModel(model);
  const { graph } = rest;
  if (graph.find(buckets.index) === undefined)
    throw new Error("a pass removed the bucket that constants are looked up by");
  const patch = new PatchBuilder(graph, "in-bucket");
  patch.redirect(buckets.index, patch.constant(i64Tensor([k]), "bucket"));
  patch.apply();
  return rest;
}
