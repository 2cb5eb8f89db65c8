import type { Model } from "../../ir/graph.ts";
import type { Runtime } from "../../runtime/index.ts";
import type { Pipeline } from "../pipeline.ts";
import { type Follower, follow } from "./follow.ts";
import { gramSink } from "./gram-sink.ts";
import { computedFloats, fedShapes } from "./observe.ts";
import { createObserver } from "./observer.ts";
import type { Probe } from "./probes.ts";
import { type GramProduct, withGramProduct } from "./product.ts";
import { rounds, type Sink } from "./sink.ts";
import { openTeacher, type Teacher, type TeacherOptions } from "./teacher.ts";
import type { GramRequest, GramStatistics, Statistics, StatisticsRequest, ValueStatistics } from "./types.ts";
import { valueSink } from "./values.ts";

/** How much is looked at. */
export interface CollectOptions {
  /** Positions of a Gram per column, over all calls, where there are as many; `Infinity` for all. Default 8. */
  readonly oversampling?: number;
  /** Bytes one run may answer with; more is asked for in further rounds over the same inputs. Default 64 MiB. */
  readonly roundBytes?: number;
  /** Positions kept per call of the values a request wants some of, instead of what it says. */
  readonly rows?: number;
}

/** Options of {@link collectStatistics}. */
export interface StatisticsOptions extends TeacherOptions, CollectOptions {}

const OVERSAMPLING = 8;
const ROUND_BYTES = 64 << 20;

/**
 * Statistics of a model along the calibration trajectory of the original: its scheduler and guidance with both halves,
 * at the resolution it will run at. `model` is the denoiser at any stage of a build; it is fed what the original was
 * fed (teacher forcing). Memory does not depend on the number of samples. Values that the model does not compute as
 * floats are absent from the result. Fails with what sampling or the runtime fails with.
 */
export async function collectStatistics(
  model: Model,
  runtime: Runtime,
  pipeline: Pipeline,
  request: StatisticsRequest,
  options: StatisticsOptions = {},
): Promise<Statistics> {
  const teacher = await openTeacher(runtime, pipeline, options);
  try {
    return await collectFrom(teacher, { model, runtime, pipeline, request, ...options });
  } finally {
    await teacher.release();
  }
}

/** What {@link collectFrom} needs. */
export interface CollectFrom extends CollectOptions {
  readonly model: Model;
  readonly runtime: Runtime;
  readonly pipeline: Pipeline;
  readonly request: StatisticsRequest;
}

/** As {@link collectStatistics}, with a teacher that is already there. */
export async function collectFrom(teacher: Teacher, options: CollectFrom): Promise<Statistics> {
  const { model, runtime, pipeline } = options;
  const values = new Map<string, ValueStatistics>();
  const grams = new Map<string, GramStatistics>();
  const follower = follow(model, pipeline, teacher);
  await withGramProduct(runtime, teacher.threads, async (product) => {
    const sinks = sinksOf(teacher, follower, options, product, { values, grams });
    for (const round of rounds(sinks, options.roundBytes ?? ROUND_BYTES)) {
      await runRound(round, teacher, follower, options);
      for (const sink of round) await sink.finish();
    }
  });
  return statisticsOf(teacher.calls, values, grams);
}

/** Requests for one and the same Gram. */
function shared(grams: readonly GramRequest[]): [GramRequest, ...GramRequest[]][] {
  const groups = new Map<string, [GramRequest, ...GramRequest[]]>();
  for (const g of grams) {
    const key = JSON.stringify([g.value, g.axis, g.unfold, g.buckets ?? null]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [g]);
    else group.push(g);
  }
  return [...groups.values()];
}

function sinksOf(
  teacher: Teacher,
  follower: Follower,
  { model, request, oversampling, rows }: CollectFrom,
  product: GramProduct,
  into: { readonly values: Map<string, ValueStatistics>; readonly grams: Map<string, GramStatistics> },
): Sink[] {
  const shapes = fedShapes(model, follower.example);
  const floats = computedFloats(model, shapes);
  const order = new Map([...floats.keys()].map((name, i) => [name, i]));
  const { calls } = teacher;
  const extent = { calls: calls.length, runs: follower.runs };
  const found: { readonly at: number; readonly sink: Sink }[] = [];
  const dimsOf = (name: string): readonly number[] | null => {
    const id = floats.get(name);
    return id === undefined ? null : shapes.staticShape(id);
  };
  for (const value of new Map(request.values.map((v) => [v.name, v])).values()) {
    const dims = dimsOf(value.name);
    if (dims === null) continue;
    const wanted = { ...value, rows: value.rows > 0 ? (rows ?? value.rows) : 0 };
    const sink = valueSink(wanted, dims, extent, (v) => into.values.set(v.name, v));
    found.push({ at: order.get(value.name)!, sink });
  }
  for (const requests of shared(request.grams)) {
    const dims = dimsOf(requests[0].value);
    if (dims === null) continue;
    const sink = gramSink({
      requests,
      dims,
      calls,
      runs: calls.length * follower.runs,
      oversampling: oversampling ?? OVERSAMPLING,
      product,
      done: (g) => into.grams.set(g.layer, g),
    });
    found.push({ at: order.get(requests[0].value)!, sink });
  }
  return found.sort((a, b) => a.at - b.at).map((f) => f.sink);
}

async function runRound(
  round: readonly Sink[],
  teacher: Teacher,
  follower: Follower,
  { model, runtime }: CollectFrom,
): Promise<void> {
  const owner = new Map<Probe, Sink>(round.flatMap((sink) => sink.probes.map((p) => [p, sink] as const)));
  const observer = createObserver(model, [...owner.keys()], runtime, {
    threads: teacher.threads,
    optimize: "extended",
  });
  try {
    await teacher.visit(async (at) => {
      for (const { feeds, draw } of follower.at(at)) {
        const { slots, answers } = await observer.run(feeds, draw);
        for (const slot of slots) await owner.get(slot.probe)!.add(slot, answers, draw);
      }
    });
  } finally {
    await observer.release();
  }
}

/** Statistics around finished maps. */
export function statisticsOf(
  calls: Statistics["calls"],
  values: ReadonlyMap<string, ValueStatistics>,
  grams: ReadonlyMap<string, GramStatistics>,
): Statistics {
  return { calls, value: (name) => values.get(name), gram: (layer) => grams.get(layer) };
}
