import { readdir } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { Ajv } from "ajv";
import { fail } from "../diagnostics/index.ts";
import type { Json } from "../ir/tensor.ts";
import { type Component, componentKind } from "./component.ts";
import { asObject, fileExists, readJson } from "./json.ts";
import { DEFAULT_SAMPLING, readSampling, type SamplingDescription } from "./sampling.ts";
import { checkConfig } from "./schedulers/config.ts";
import { createScheduler, type ScheduleOverrides, type Scheduler, samplerNamed } from "./schedulers/index.ts";

/** A diffusion pipeline on disk: descriptions only, no model is loaded. */
export interface Pipeline {
  /** The folder, or the folder of the single model. */
  readonly dir: string;
  /** Class in `model_index.json`; `null` for a single model. */
  readonly className: string | null;
  /** Sorted by name. */
  readonly components: readonly Component[];
  /** The component that is sampled, `null` when there is none (a folder of other models). */
  readonly denoiser: Component | null;
  /** Content of `scheduler_config.json`, checked; `null` when the pipeline has none. */
  readonly scheduler: { readonly file: string; readonly config: Readonly<Record<string, Json>> } | null;
  readonly sampling: SamplingDescription;
  /** `reference.npz`, when there is one: input sets `i.NAME` with the outputs they must give. */
  readonly reference: string | null;
}

/** How strictly a folder is opened. */
export interface OpenOptions {
  /** `false` leaves an unknown scheduler class to whoever samples; default `true`. */
  readonly checkScheduler?: boolean;
}

/** Folders looked at in a pipeline; published ones have about ten. */
const MAX_FOLDERS = 1000;

const validateIndex = new Ajv({ allErrors: true, strict: true, allowUnionTypes: true }).compile({
  type: "object",
  properties: { _class_name: { type: "string" } },
  required: ["_class_name"],
});

/** `[library, class]` entries of an index. */
function classNames(index: Readonly<Record<string, Json>>): Map<string, string> {
  const names = new Map<string, string>();
  for (const [key, value] of Object.entries(index)) {
    if (key.startsWith("_") || !Array.isArray(value)) continue;
    const className = value[1];
    if (typeof className === "string") names.set(key, className);
  }
  return names;
}

async function readConfig(file: string): Promise<Readonly<Record<string, Json>> | null> {
  if (!(await fileExists(file))) return null;
  return asObject(await readJson(file, "the component"), file);
}

async function componentsOf(dir: string, classes: ReadonlyMap<string, string>): Promise<Component[]> {
  const folders = (await readdir(dir, { withFileTypes: true }))
    .filter((e) => e.isDirectory() || e.isSymbolicLink())
    .map((e) => e.name)
    .sort()
    .slice(0, MAX_FOLDERS);
  const found: Component[] = [];
  for (const name of folders) {
    const model = join(dir, name, "model.onnx");
    if (!(await fileExists(model))) continue;
    found.push({
      name,
      kind: componentKind(name),
      model,
      config: await readConfig(join(dir, name, "config.json")),
      className: classes.get(name) ?? null,
    });
  }
  for (const [name, className] of classes) {
    const needed = componentKind(name) === "denoiser" || className.startsWith("Onnx");
    if (!needed || found.some((c) => c.name === name)) continue;
    fail("PIPELINE_FILE_MISSING", {
      file: join(dir, name, "model.onnx"),
      neededBy: `model_index.json, which lists ${name}`,
    });
  }
  return found;
}

async function schedulerOf(
  dir: string,
  classes: ReadonlyMap<string, string>,
  options: OpenOptions,
): Promise<Pipeline["scheduler"]> {
  const file = join(dir, "scheduler", "scheduler_config.json");
  if (!(await fileExists(file)) && !classes.has("scheduler")) return null;
  const raw = await readJson(file, "the pipeline's scheduler");
  const config = { ...checkConfig(raw, file) };
  config["_class_name"] ??= classes.get("scheduler") ?? null;
  const name = config["_class_name"];
  if (typeof name !== "string") {
    return fail("CONFIG_INVALID", { file, problems: ["_class_name is missing, expected a scheduler class"] });
  }
  if (options.checkScheduler !== false) samplerNamed(name, file);
  return { file, config };
}

/**
 * Opens a pipeline folder in the diffusers layout: `model_index.json`, `scheduler/scheduler_config.json`,
 * `<component>/model.onnx` with `config.json`, and optionally `diffpress.json` and `reference.npz`. Reads descriptions
 * only. Fails with PIPELINE_FILE_MISSING, PIPELINE_EMPTY, JSON_INVALID, CONFIG_INVALID, CONFIG_TOO_LARGE or
 * SCHEDULER_UNKNOWN.
 */
export async function openPipeline(dir: string, options: OpenOptions = {}): Promise<Pipeline> {
  const indexFile = join(dir, "model_index.json");
  const index = asObject(await readJson(indexFile, "a pipeline folder"), indexFile);
  if (!validateIndex(index)) {
    const problems = (validateIndex.errors ?? []).map(
      (e) => `${e.instancePath.slice(1) || "the file"} ${e.message}`,
    );
    fail("CONFIG_INVALID", { file: indexFile, problems });
  }
  const classes = classNames(index);
  const components = await componentsOf(dir, classes);
  if (components.length === 0) fail("PIPELINE_EMPTY", { dir });
  const samplingFile = join(dir, "diffpress.json");
  const sampling = (await fileExists(samplingFile))
    ? readSampling(await readJson(samplingFile, "sampling"), samplingFile)
    : DEFAULT_SAMPLING;
  const reference = join(dir, "reference.npz");
  return {
    dir,
    className: index["_class_name"] as string,
    components,
    denoiser: components.find((c) => c.kind === "denoiser") ?? null,
    scheduler: await schedulerOf(dir, classes, options),
    sampling,
    reference: (await fileExists(reference)) ? reference : null,
  };
}

/** What is known about a model that has no pipeline around it. */
export interface ModelDescription {
  /** Path of the model. */
  readonly model: string;
  /** Path of a `scheduler_config.json`, or its content; none: cannot be sampled. */
  readonly scheduler?: string | Readonly<Record<string, Json>>;
  /** Content of a `config.json` with `in_channels` and `sample_size`. */
  readonly config?: Readonly<Record<string, Json>>;
  /** Entries of `diffpress.json` that apply. */
  readonly sampling?: Partial<SamplingDescription>;
  /** npz with inputs of the denoiser by name, first axis the conditions; `unconditional.NAME` for guidance. */
  readonly conditions?: string;
}

/**
 * A pipeline of one model, the denoiser. A `config.json`, `diffpress.json` and `reference.npz` beside it are used when
 * nothing else is said. Fails like {@link openPipeline}.
 */
export async function describeModel(description: ModelDescription): Promise<Pipeline> {
  const { model } = description;
  if (!(await fileExists(model))) fail("PIPELINE_FILE_MISSING", { file: model, neededBy: "the command" });
  const dir = dirname(model);
  const samplingFile = join(dir, "diffpress.json");
  const sampling = (await fileExists(samplingFile))
    ? readSampling(await readJson(samplingFile, "sampling"), samplingFile)
    : DEFAULT_SAMPLING;
  const file = typeof description.scheduler === "string" ? description.scheduler : "the scheduler options";
  const raw =
    typeof description.scheduler === "string"
      ? await readJson(description.scheduler, "the command")
      : description.scheduler;
  const component: Component = {
    name: basename(model).replace(/\.onnx$/i, ""),
    kind: "denoiser",
    model,
    config: description.config ?? (await readConfig(join(dir, "config.json"))),
    className: null,
  };
  const reference = join(dir, "reference.npz");
  return {
    dir,
    className: null,
    components: [component],
    denoiser: component,
    scheduler: raw === undefined ? null : { file, config: checkConfig(raw, file) },
    sampling: {
      ...sampling,
      ...description.sampling,
      ...(description.conditions !== undefined && { conditionsFile: resolve(description.conditions) }),
    },
    reference: (await fileExists(reference)) ? reference : null,
  };
}

/** The schedule of a pipeline, with its own number of steps unless overridden. Fails with PIPELINE_FILE_MISSING when it has none. */
export function pipelineScheduler(pipeline: Pipeline, overrides: ScheduleOverrides = {}): Scheduler {
  if (pipeline.scheduler === null) {
    return fail("PIPELINE_FILE_MISSING", {
      file: join(pipeline.dir, "scheduler", "scheduler_config.json"),
      neededBy: "the sampled trajectory",
    });
  }
  const { sampler, steps } = pipeline.sampling;
  const chosen = { ...(sampler !== null && { sampler }), steps, ...overrides };
  return createScheduler(pipeline.scheduler.config, chosen, pipeline.scheduler.file);
}

/** The denoiser of a pipeline. Fails with PIPELINE_NO_DENOISER. */
export function pipelineDenoiser(pipeline: Pipeline): Component {
  return (
    pipeline.denoiser ??
    fail("PIPELINE_NO_DENOISER", { dir: pipeline.dir, found: pipeline.components.map((c) => c.name) })
  );
}
