import { bucketRanges, inBucket } from "../ir/buckets.ts";
import type { Model } from "../ir/graph.ts";
import { writeModelSet } from "../ir/onnx/index.ts";
import { passGroups, resolvePass } from "../passes/index.ts";
import { runPass } from "../passes/runner.ts";
import type { GraphSet } from "../runtime/index.ts";
import { type ChainOptions, filesIn, type WriteOptions, type WrittenComponent, writing } from "./build.ts";
import { sha256 } from "./hash.ts";
import type { ManifestTensor } from "./manifest.ts";
import { completeOptions } from "./recipe/validate.ts";

/** A model taken apart into one graph per bucket of timesteps, ascending. */
export interface SplitModel {
  readonly models: readonly Model[];
  /** Name of the input with the timesteps. */
  readonly input: string;
  readonly bounds: readonly number[];
}

/**
 * Fixes the bucket in a copy of the model for each and folds what becomes constant; `null` for a model that is one
 * graph. Tensors that do not depend on the bucket are shared.
 */
export async function splitBuckets(
  model: Model,
  how: Pick<ChainOptions, "runner" | "target">,
): Promise<SplitModel | null> {
  const { buckets } = model;
  if (buckets === undefined) return null;
  const { budget: _, dump: __, ...runner } = how.runner;
  const models: Model[] = [];
  for (const k of bucketRanges(buckets).keys()) {
    const { model: one, bucket } = inBucket(model, k);
    for (const name of passGroups["clean"]!) {
      const pass = resolvePass(name);
      const options = completeOptions(pass, {}, "recipe");
      await runPass(one, pass, options, { ...runner, target: how.target, ranges: null, trail: [] });
    }
    if (one.graph.find(bucket) !== undefined && one.graph.users(bucket).length > 0)
      throw new Error(`graph ${k} still looks its constants up`);
    models.push(one);
  }
  return { models, input: model.graph.value(buckets.input).name, bounds: buckets.bounds };
}

/**
 * Writes `model.b0.onnx`, `model.b1.onnx`, … over one data file beside `file` (the `model.onnx` they stand for), and
 * `model.graphs.json`, which says what serves which timesteps.
 */
export async function writeGraphSet(
  split: SplitModel,
  file: string,
  options: WriteOptions,
): Promise<WrittenComponent> {
  const { output } = options;
  const folder = file.slice(0, file.lastIndexOf("/") + 1);
  const stem = file.slice(folder.length).replace(/\.onnx$/, "");
  const members = split.models.map((model, k) => ({ file: `${stem}.b${k}.onnx`, model }));
  const written = await writing(options, (how) => writeModelSet(members, output.file(`${file}.data`), how));
  const set: GraphSet = {
    schema: 1,
    input: split.input,
    graphs: bucketRanges(split).map((range, k) => ({ file: members[k]!.file, ...range })),
  };
  const path = `${folder}${stem}.graphs.json`;
  const text = `${JSON.stringify(set, null, 2)}\n`;
  output.write(path, text);
  const models: Record<string, readonly ManifestTensor[]> = {};
  for (const [k, w] of written.entries()) models[folder + members[k]!.file] = w.tensors;
  const described = { path, bytes: Buffer.byteLength(text), sha256: sha256(text) };
  return { path, files: [...written.flatMap((w) => filesIn(folder, w)), described], models, set };
}
