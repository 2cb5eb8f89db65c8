import type { CrossGram, CrossRequest } from "../calibrate/statistics/cross.ts";
import type { Oracle, Statistics, StatisticsRequest } from "../calibrate/statistics/types.ts";
import { DiffpressError } from "../diagnostics/index.ts";
import { cloneModel } from "../ir/clone.ts";
import type { Model, ValueId } from "../ir/graph.ts";
import { inferShapes } from "../ir/infer.ts";
import {
  type ExternalOptions,
  type WriteOptions as ModelWriteOptions,
  type WrittenModel,
  writeModel,
} from "../ir/onnx/index.ts";
import { modelTensors } from "../ir/weights.ts";
import { findPass } from "../passes/index.ts";
import { type PassReport, type RunnerOptions, runPass } from "../passes/runner.ts";
import type { GraphSet, Runtime } from "../runtime/index.ts";
import type { Target } from "../targets/target.ts";
import type { OnCompileEvent } from "./events.ts";
import type { ManifestFile, ManifestTensor } from "./manifest.ts";
import type { OutputFolder } from "./output.ts";
import type { PlannedPass } from "./plan.ts";
import type { OutputLayout } from "./recipe/types.ts";

/** What the passes of one chain made: the model, their reports, and the model as it was before the first lossy pass. */
export interface ChainResult {
  readonly model: Model;
  readonly passes: readonly PassReport[];
  /** `null` when a lossy pass had run before this chain. */
  readonly exact: Model;
  /** Largest magnitudes that were measured for passes of this chain; empty where none asked. */
  readonly magnitudes: ReadonlyMap<ValueId, number>;
}

/** What a chain of passes needs besides its model. */
export interface ChainOptions {
  readonly runner: Omit<
    RunnerOptions,
    "trail" | "target" | "ranges" | "statistics" | "oracle" | "collect" | "collectCross" | "heldOut"
  >;
  readonly target: Target | null;
  readonly component: string;
  /** Passes already run on the model. */
  readonly trail: readonly string[];
  /** Range statistics of the model as it is before the first pass that wants them. */
  readonly ranges: (model: Model) => Promise<RunnerOptions["ranges"]>;
  /**
   * Statistics of a model on the original's inputs; `null` when the original cannot be sampled. `exact` says that
   * nothing lossy has run on the model.
   */
  readonly statistics: (
    model: Model,
    request: StatisticsRequest,
    exact: boolean,
  ) => Promise<Statistics | null>;
  /** Layer inputs of a compressed model against those of another one, on the original's inputs; `null` likewise. */
  readonly cross: (
    models: { readonly compressed: Model; readonly original: Model },
    requests: readonly CrossRequest[],
  ) => Promise<ReadonlyMap<string, CrossGram> | null>;
  /** Statistics of inputs that nothing is fitted to; `null` where the recipe holds nothing out. */
  readonly heldOut: NonNullable<RunnerOptions["heldOut"]> | null;
  /** The original's recorded trajectory; `null` when it cannot be sampled. */
  readonly oracle: () => Promise<Oracle | null>;
  readonly onEvent: OnCompileEvent;
  /** Counts passes over the whole build, for progress. */
  readonly counter: { done: number; readonly total: number };
}

/** Largest magnitudes by value: names change, ids stay. */
function magnitudesOf({ graph }: Model, ranges: RunnerOptions["ranges"]): ReadonlyMap<ValueId, number> {
  const found = new Map<ValueId, number>();
  for (const { id, name } of graph.values()) {
    const range = ranges?.get(name);
    if (range !== undefined) found.set(id, Math.max(-range.min, range.max));
  }
  return found;
}

/** Runs planned passes on a copy of `start`. Errors: those of the passes. */
export async function runChain(
  start: Model,
  plan: readonly PlannedPass[],
  options: ChainOptions,
): Promise<ChainResult> {
  const model = cloneModel(start);
  const trail = [...options.trail];
  const reports: PassReport[] = [];
  let exact: Model | null = null;
  let untouched = !options.trail.some((name) => findPass(name)?.effect === "lossy");
  let ranges: RunnerOptions["ranges"] = null;
  let magnitudes: ChainResult["magnitudes"] = new Map();
  for (const step of plan) {
    const pass = findPass(step.pass)!;
    options.onEvent({
      kind: "stage",
      target: options.target?.id ?? null,
      component: options.component,
      stage: pass.name,
      step: options.counter.done,
      steps: options.counter.total,
    });
    if (pass.effect === "lossy" && exact === null) exact = cloneModel(model);
    if (ranges === null && pass.wantsRanges?.(step.options, options.target) === true) {
      ranges = await options.ranges(model);
      magnitudes = magnitudesOf(model, ranges);
    }
    const request =
      pass.wantsStatistics?.(model.graph, step.options, {
        model,
        target: options.target,
        shapes: () => inferShapes(model),
      }) ?? null;
    const statistics = request === null ? null : await options.statistics(model, request, untouched);
    const wantsOracle = pass.wantsOracle?.(step.options, options.target) === true;
    const report = await runPass(model, pass, step.options, {
      ...options.runner,
      target: options.target,
      ranges,
      statistics,
      oracle: wantsOracle ? await options.oracle() : null,
      collect: (of, wanted) => options.statistics(of, wanted, false),
      collectCross: options.cross,
      heldOut: options.heldOut,
      trail,
    });
    untouched &&= pass.effect === "exact";
    options.counter.done++;
    if (report === null) break;
    reports.push(report);
  }
  return { model, passes: reports, exact: exact ?? model, magnitudes };
}

/** What {@link writeComponent} needs. */
export interface WriteOptions {
  readonly output: OutputFolder;
  readonly out: string;
  readonly runtime: Runtime;
  readonly layout: Required<OutputLayout>;
  readonly target: string;
  readonly component: string;
  readonly onEvent: OnCompileEvent;
}

/** The same diagnostic with the path people know instead of the one files have while the build is unfinished. */
function atFinalPlace(cause: unknown, staging: string, out: string): unknown {
  if (!(cause instanceof DiffpressError)) return cause;
  const { details } = cause.diagnostic;
  if (!("path" in details) || !details.path.startsWith(staging)) return cause;
  const path = out + details.path.slice(staging.length);
  return new DiffpressError(
    {
      ...cause.diagnostic,
      message: cause.message.replaceAll(details.path, path),
      details: { ...details, path },
    },
    cause,
  );
}

/** One component as it lies in the build folder; all paths are relative to that. */
export interface WrittenComponent {
  /** What is loaded: a model, or the description of a graph set. */
  readonly path: string;
  readonly files: readonly ManifestFile[];
  /** Tensors of each model file. */
  readonly models: { readonly [path: string]: readonly ManifestTensor[] };
  /** `null` for a single model. */
  readonly set: GraphSet | null;
}

/** How models below the build folder are written. Diagnostics of `write` name the final place. */
export async function writing<T>(
  options: WriteOptions,
  write: (how: ModelWriteOptions & { readonly external: ExternalOptions }) => Promise<T>,
): Promise<T> {
  const { output, layout, target, component } = options;
  try {
    return await write({
      reader: options.runtime.reader,
      external: { threshold: layout.inlineBelow, align: layout.align },
      onProgress: ({ bytesDone, bytesTotal }) =>
        options.onEvent({ kind: "bytes", target, component, done: bytesDone, total: bytesTotal }),
    });
  } catch (cause) {
    throw atFinalPlace(cause, output.staging, options.out);
  }
}

/** Files with paths relative to the build folder instead of their own. */
export function filesIn(folder: string, written: WrittenModel): ManifestFile[] {
  return written.files.map((f) => ({ ...f, path: folder + f.path }));
}

/** Writes a model below the build folder. */
export async function writeComponent(
  model: Model,
  file: string,
  options: WriteOptions,
): Promise<WrittenComponent> {
  // Weights can take many minutes to make: what will not fit is better known before the first of them.
  for (const t of modelTensors(model)) options.runtime.reader.admit?.(t);
  const written = await writing(options, (how) => writeModel(model, options.output.file(file), how));
  const folder = file.slice(0, file.lastIndexOf("/") + 1);
  return { path: file, files: filesIn(folder, written), models: { [file]: written.tensors }, set: null };
}
