import type { Model } from "../../ir/graph.ts";
import type { Runtime } from "../../runtime/index.ts";
import type { Pipeline } from "../pipeline.ts";
import type { StatisticsArtifact } from "./artifact.ts";
import { type CollectFrom, collectFrom, statisticsOf } from "./collect.ts";
import { follow } from "./follow.ts";
import { computedFloats, fedShapes } from "./observe.ts";
import { createObserver } from "./observer.ts";
import type { Teacher } from "./teacher.ts";
import type { GramRequest, GramStatistics, Statistics, ValueRequest, ValueStatistics } from "./types.ts";

/** A model whose values are witnessed. */
export interface WitnessOptions {
  readonly model: Model;
  readonly runtime: Runtime;
  readonly pipeline: Pipeline;
  readonly values: readonly Pick<ValueRequest, "name" | "axis">[];
}

/**
 * Means and mean squares per channel of values at the inputs of the first call, `[mean…, square…]`: cheap to take, and
 * enough to see whether a name still stands for the same tensor in a rewritten graph.
 */
export async function witness(
  teacher: Teacher,
  { model, runtime, pipeline, values }: WitnessOptions,
): Promise<ReadonlyMap<string, Float32Array>> {
  const { example } = follow(model, pipeline, teacher);
  const shapes = fedShapes(model, example);
  const floats = computedFloats(model, shapes);
  const known = values.filter(({ name, axis }) => {
    const id = floats.get(name);
    const dims = id === undefined ? null : shapes.staticShape(id);
    return dims !== null && (axis === null || (axis < dims.length && axis >= -dims.length));
  });
  if (known.length === 0) return new Map();
  const probes = known.map(
    ({ name, axis }) => ({ kind: "moments", value: name, axis, square: true }) as const,
  );
  const observer = createObserver(model, probes, runtime, { threads: teacher.threads });
  try {
    const { slots, answers } = await observer.run(example, { seed: 0, call: 0, run: 0 });
    return new Map(
      slots.map(({ probe, offset, length }) => [
        probe.value,
        answers.slice(offset + length / 2, offset + length),
      ]),
    );
  } finally {
    await observer.release();
  }
}

/** Largest difference of two witnesses of one tensor, relative to its mean square: what other fusions may round. */
const SAME = 1e-3;

function agree(a: Float32Array | undefined, b: Float32Array | undefined): boolean {
  if (a === undefined || b === undefined || a.length !== b.length) return false;
  const half = a.length / 2;
  let power = 0;
  for (let c = 0; c < half; c++) power = Math.max(power, a[half + c]!);
  const root = Math.sqrt(power);
  for (let c = 0; c < half; c++) {
    const off =
      Math.abs(a[c]! - b[c]!) <= SAME * root && Math.abs(a[half + c]! - b[half + c]!) <= SAME * power;
    if (!off) return false;
  }
  return true;
}

const sameWindow = (a: GramRequest, b: GramRequest): boolean =>
  a.value === b.value && a.axis === b.axis && JSON.stringify(a.unfold) === JSON.stringify(b.unfold);

/**
 * Statistics from an artifact where it has them and its witnesses agree with the model, the rest collected. The model
 * must compute the same as the one the artifact is of; nothing lossy may have run on it.
 */
export async function collectReusing(
  artifact: StatisticsArtifact,
  teacher: Teacher,
  options: CollectFrom,
): Promise<Statistics> {
  const { request } = options;
  const stored = new Map(artifact.request.values.map((v) => [v.name, v]));
  const now = await witness(teacher, {
    ...options,
    values: [...request.values.map((v) => v.name), ...request.grams.map((g) => g.value)].flatMap((name) => {
      const v = stored.get(name);
      return v === undefined ? [] : [v];
    }),
  });
  const trusted = (name: string): boolean => agree(artifact.witnesses.get(name), now.get(name));
  const values = new Map<string, ValueStatistics>();
  const grams = new Map<string, GramStatistics>();
  for (const v of request.values) {
    const found = artifact.statistics.value(v.name);
    const wanted = v.rows > 0 ? (options.rows ?? v.rows) : 0;
    if (found !== undefined && found.rows >= wanted && stored.get(v.name)!.axis === v.axis && trusted(v.name))
      values.set(v.name, found);
  }
  for (const g of request.grams) {
    if ((g.buckets ?? null) !== null || !trusted(g.value)) continue;
    const same = artifact.request.grams.find((s) => sameWindow(s, g));
    const found = same === undefined ? undefined : artifact.statistics.gram(same.layer);
    if (found !== undefined) grams.set(g.layer, { ...found, layer: g.layer });
  }
  const rest = {
    values: request.values.filter((v) => !values.has(v.name)),
    grams: request.grams.filter((g) => !grams.has(g.layer)),
  };
  if (rest.values.length + rest.grams.length > 0) {
    const fresh = await collectFrom(teacher, { ...options, request: rest });
    for (const v of rest.values) {
      const found = fresh.value(v.name);
      if (found !== undefined) values.set(v.name, found);
    }
    for (const g of rest.grams) {
      const found = fresh.gram(g.layer);
      if (found !== undefined) grams.set(g.layer, found);
    }
  }
  return statisticsOf(teacher.calls, values, grams);
}
