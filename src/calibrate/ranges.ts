import { type Diagnostic, diagnostic } from "../diagnostics/index.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { Model } from "../ir/graph.ts";
import { inferShapes } from "../ir/infer.ts";
import type { Runtime } from "../runtime/index.ts";
import type { Pipeline } from "./pipeline.ts";
import { follow } from "./statistics/follow.ts";
import { addMoments, createMoments, type Moments } from "./statistics/moments.ts";
import { computedFloats } from "./statistics/observe.ts";
import { createObserver } from "./statistics/observer.ts";
import type { Draw } from "./statistics/positions.ts";
import { openTeacher, type Teacher, type TeacherOptions } from "./statistics/teacher.ts";

/** Extremes of one value over all runs. */
export interface ValueRange {
  /** `-Infinity` when the value was not finite in some run. */
  readonly min: number;
  /** `Infinity` when the value was not finite in some run. */
  readonly max: number;
  readonly absMax: number;
  /** Runs in which some element was infinite or not a number. */
  readonly notFinite: number;
}

/** Ranges by value name; fits the pass context's range statistics. */
export interface Ranges {
  get(valueName: string): ValueRange | undefined;
  /** In topological order of the values. */
  readonly entries: ReadonlyMap<string, ValueRange>;
  /** Model runs each range covers. */
  readonly runs: number;
  /** RANGE_NOT_FINITE when some value overflowed. */
  readonly diagnostics: readonly Diagnostic[];
}

export interface ObserveOptions {
  /** Intra-op threads; default 1, which makes statistics the same on every machine of one instruction set. */
  readonly threads?: number;
  /** Values per instrumented graph; more values take further rounds over the same inputs. Default 4096. */
  readonly valuesPerRound?: number;
}

/** Calls `on` with the feeds of every run, in the same order each time. */
type Visit = (on: (feeds: ReadonlyMap<string, Dense>, draw: Draw) => Promise<void>) => Promise<void>;

function rangeOf({ min, max, notFinite }: Moments): ValueRange {
  const [low, high] = [min[0]!, max[0]!];
  return { min: low, max: high, absMax: Math.max(-low, high), notFinite };
}

async function rangesAlong(
  model: Model,
  runtime: Runtime,
  visit: Visit,
  options: ObserveOptions,
): Promise<Ranges> {
  const names = [...computedFloats(model, inferShapes(model)).keys()];
  const size = options.valuesPerRound ?? 4096;
  const entries = new Map<string, ValueRange>();
  let runs = 0;
  for (let from = 0; from < names.length; from += size) {
    const part = names.slice(from, from + size);
    const moments = new Map(part.map((name) => [name, createMoments(1, 1)]));
    const probes = part.map((value) => ({ kind: "moments", value, axis: null, square: false }) as const);
    // Every value has an observer, so nothing could fuse; optimising would only cost seconds of start-up.
    const session = { threads: options.threads ?? 1, optimize: "disable" } as const;
    const observer = createObserver(model, probes, runtime, session);
    runs = 0;
    try {
      await visit(async (feeds, draw) => {
        const { slots, answers } = await observer.run(feeds, draw);
        for (const slot of slots) addMoments(moments.get(slot.probe.value)!, 0, slot, answers);
        runs++;
      });
    } finally {
      await observer.release();
    }
    for (const [name, m] of moments) if (m.count[0] !== 0) entries.set(name, rangeOf(m));
  }
  const bad = [...entries].filter(([, r]) => r.notFinite > 0).map(([name]) => name);
  const diagnostics =
    bad.length === 0
      ? []
      : [
          diagnostic("RANGE_NOT_FINITE", {
            count: bad.length,
            values: bad.slice(0, 8),
          }) as unknown as Diagnostic,
        ];
  return { get: (name) => entries.get(name), entries, runs, diagnostics };
}

/** Ranges of a model's values over given inputs: for text encoders, decoders, or recorded denoiser inputs. */
export async function observeRanges(
  model: Model,
  runtime: Runtime,
  feeds: readonly ReadonlyMap<string, Dense>[],
  options: ObserveOptions = {},
): Promise<Ranges> {
  const visit: Visit = async (on) => {
    for (const [run, f] of feeds.entries()) await on(f, { seed: 0, call: 0, run });
  };
  return await rangesAlong(model, runtime, visit, options);
}

export interface RangeOptions extends ObserveOptions, TeacherOptions {}

/**
 * Ranges of every float value of a denoiser along the original's calibration trajectory: calibration seeds, the
 * pipeline's scheduler and guidance with both halves, at the resolution it will run at. `model` is the pipeline's
 * denoiser at any stage of a build; it is fed what the original was fed. Values that overflow are reported, not fatal.
 */
export async function collectRanges(
  model: Model,
  runtime: Runtime,
  pipeline: Pipeline,
  options: RangeOptions = {},
): Promise<Ranges> {
  const teacher = await openTeacher(runtime, pipeline, options);
  try {
    return await rangesFrom(teacher, { model, runtime, pipeline, ...options });
  } finally {
    await teacher.release();
  }
}

/** What {@link rangesFrom} needs. */
export interface RangesFrom extends ObserveOptions {
  readonly model: Model;
  readonly runtime: Runtime;
  readonly pipeline: Pipeline;
}

/** As {@link collectRanges}, with a teacher that is already there. */
export async function rangesFrom(teacher: Teacher, options: RangesFrom): Promise<Ranges> {
  const follower = follow(options.model, options.pipeline, teacher);
  const visit: Visit = (on) =>
    teacher.visit(async (at) => {
      for (const { feeds, draw } of follower.at(at)) await on(feeds, draw);
    });
  return await rangesAlong(options.model, options.runtime, visit, options);
}
