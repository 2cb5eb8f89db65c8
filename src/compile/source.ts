import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, extname, join, relative, resolve, sep } from "node:path";
import type { Component } from "../calibrate/component.ts";
import { declaredSizes } from "../calibrate/component.ts";
import { asObject, readJson } from "../calibrate/json.ts";
import { readNpz } from "../calibrate/npz.ts";
import { describeModel, openPipeline, type Pipeline } from "../calibrate/pipeline.ts";
import type { Condition, NestedNumbers } from "../calibrate/sampling.ts";
import { fail } from "../diagnostics/index.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { Model } from "../ir/graph.ts";
import { readModel } from "../ir/onnx/index.ts";
import { modelTensors } from "../ir/weights.ts";
import { bindableDims } from "../passes/clean/specialise-shapes.ts";
import { canonicalJson, hashFile, sha256 } from "./hash.ts";
import type { ComponentInfo } from "./shapes.ts";

/** One model of the input. */
export interface SourceComponent {
  readonly info: ComponentInfo;
  /** Path of the model relative to the build's target folder: `unet/model.onnx`, or `model.onnx` for a single model. */
  readonly file: string;
  readonly path: string;
  readonly model: Model;
}

/** The input of a build: models read (weights stay on disk), descriptions checked. */
export interface BuildSource {
  /** As the caller named it. */
  readonly path: string;
  readonly name: string;
  readonly kind: "pipeline" | "model";
  readonly pipeline: Pipeline;
  readonly components: readonly SourceComponent[];
  /** Inputs of the denoiser that came with the pipeline, a map per set; empty without `reference.npz`. */
  readonly reference: readonly ReadonlyMap<string, Dense>[];
}

/** Files that are weights or samples of other formats: a build replaces them or does not need them. */
const NOT_COPIED: ReadonlySet<string> = new Set([
  ".onnx",
  ".data",
  ".onnx_data",
  ".bin",
  ".safetensors",
  ".ckpt",
  ".pt",
  ".pth",
  ".msgpack",
  ".npz",
  ".gguf",
]);
/** Descriptions, vocabularies and merges are far below this. */
const MAX_COPY_BYTES = 64 << 20;
/** Prompts in tokens beyond this are a configuration's way to say "no limit". */
const MAX_PROMPT = 8192;
/** Published pipelines have a few dozen description files. */
const MAX_COPIES = 1000;

/** Length of every axis of a nested list. */
function nestedShape(value: NestedNumbers): number[] {
  const dims: number[] = [];
  for (let at: NestedNumbers | undefined = value; Array.isArray(at); at = at[0] as NestedNumbers | undefined)
    dims.push(at.length);
  return dims;
}

/** Shapes the conditions feed a component, with a batch axis put in front. */
function conditionShapes(component: Component, conditions: readonly Condition[]): Map<string, number[]> {
  const out = new Map<string, number[]>();
  for (const c of conditions) {
    const inputs = component.kind === "denoiser" ? c.inputs : (c.components[component.name]?.inputs ?? {});
    for (const [name, value] of Object.entries(inputs)) if (!out.has(name)) out.set(name, nestedShape(value));
  }
  return out;
}

/** Splits `i.NAME` entries into input sets of a model, outputs left out. */
function inputSets(npz: ReadonlyMap<string, Dense>, inputs: ReadonlySet<string>): Map<string, Dense>[] {
  const sets = new Map<string, Map<string, Dense>>();
  for (const [key, value] of npz) {
    const dot = key.indexOf(".");
    const name = key.slice(dot + 1);
    if (dot < 1 || !inputs.has(name)) continue;
    const index = key.slice(0, dot);
    const set = sets.get(index) ?? new Map<string, Dense>();
    sets.set(index, set.set(name, value));
  }
  return [...sets.values()].filter((s) => s.size === inputs.size);
}

/** What `force_upcast` in the configuration of an autoencoder says; that of SDXL has it, its repaired copies do not. */
const FORCE_UPCAST =
  "its configuration says force_upcast: activations leave the range of fp16 and pictures come out black";

function describe(
  component: Component,
  model: Model,
  pipeline: Pipeline,
  reference: BuildSource["reference"],
): ComponentInfo {
  const { graph } = model;
  const denoiser = component.kind === "denoiser";
  const sizes = declaredSizes(component);
  const latent = pipeline.denoiser === null ? sizes : declaredSizes(pipeline.denoiser);
  // A decoder takes latents, whose size only the denoiser's configuration states.
  const spatial = component.kind === "vae-decoder" ? latent : sizes;
  const inputs = graph.inputs.map((id) => {
    const { name, type } = graph.value(id);
    return { name, shape: type?.kind === "tensor" ? type.shape : null };
  });
  const fed = new Map<string, readonly number[]>();
  const unconditional = pipeline.sampling.unconditional;
  const conditions = [...pipeline.sampling.conditions, ...(unconditional === null ? [] : [unconditional])];
  for (const [name, dims] of conditionShapes(component, conditions)) {
    const rank = inputs.find((i) => i.name === name)?.shape?.length;
    fed.set(name, rank === dims.length + 1 ? [1, ...dims] : dims);
  }
  if (denoiser) for (const [name, value] of reference[0] ?? []) fed.set(name, value.dims);
  return {
    name: component.name,
    kind: component.kind,
    denoiser,
    dims: bindableDims(graph),
    inputs,
    sampleSize: spatial.height === null || spatial.width === null ? null : [spatial.height, spatial.width],
    channels: component.kind === "vae-decoder" ? latent.channels : sizes.channels,
    fed,
    ...(component.config?.["force_upcast"] === true && { halfUnsafe: FORCE_UPCAST }),
  };
}

/** Longest prompt in tokens by the tokenizer's configuration; `null` without one. "No limit" is spelled near 1e30. */
async function tokensOf(pipeline: Pipeline): Promise<number | null> {
  const file = join(pipeline.dir, "tokenizer", "tokenizer_config.json");
  if (!existsSync(file)) return null;
  const length = asObject(await readJson(file, "the tokenizer"), file)["model_max_length"];
  return typeof length === "number" && length >= 1 && length <= MAX_PROMPT ? Math.floor(length) : null;
}

/** A text encoder whose token inputs nothing else feeds takes whole prompts. */
function withTokens(info: ComponentInfo, length: number | null): ComponentInfo {
  if (length === null) return info;
  const fed = new Map(info.fed);
  for (const i of info.inputs) if (i.shape?.length === 2 && !fed.has(i.name)) fed.set(i.name, [1, length]);
  return { ...info, fed };
}

/** Symbols of axes behind the batch whose length some component is fed. */
function sharedSymbols(infos: readonly ComponentInfo[]): Record<string, number> {
  const out: Record<string, number> = {};
  for (const info of infos)
    for (const { name, shape } of info.inputs)
      for (const [axis, dim] of (shape ?? []).entries()) {
        const length = info.fed.get(name)?.[axis];
        if (axis > 0 && typeof dim === "string" && !dim.startsWith("?") && length !== undefined)
          out[dim] ??= length;
      }
  return out;
}

/** What to look at in the input. */
export interface SourceOptions {
  /** Reads `reference.npz`; off for what only looks at descriptions. */
  readonly reference?: boolean;
  /** The files that weights lie in may be absent, for what looks at shapes only. */
  readonly absentData?: boolean;
}

/**
 * Opens a pipeline folder or a single model. Errors: INPUT_NOT_FOUND and those of {@link openPipeline} and
 * {@link readModel}.
 */
export async function openSource(path: string, options: SourceOptions = {}): Promise<BuildSource> {
  if (!existsSync(path)) fail("INPUT_NOT_FOUND", { path, problem: "there is nothing with that name" });
  const folder = statSync(path).isDirectory();
  if (folder && !existsSync(join(path, "model_index.json")))
    fail("INPUT_NOT_FOUND", { path, problem: "the folder has no model_index.json" });
  const pipeline = folder ? await openPipeline(path) : await describeModel({ model: path });
  const denoiser = pipeline.denoiser;
  const models = new Map<string, Model>();
  for (const c of pipeline.components)
    models.set(c.name, await readModel(c.model, { absentData: options.absentData === true }));
  let reference: BuildSource["reference"] = [];
  if (options.reference !== false && pipeline.reference !== null && denoiser !== null) {
    const { graph } = models.get(denoiser.name)!;
    reference = inputSets(
      await readNpz(pipeline.reference),
      new Set(graph.inputs.filter((id) => graph.value(id).init === null).map((id) => graph.value(id).name)),
    );
  }
  const promptLength = await tokensOf(pipeline);
  const infos = pipeline.components.map((c) => {
    const info = describe(c, models.get(c.name)!, pipeline, reference);
    return c.kind === "text-encoder" ? withTokens(info, promptLength) : info;
  });
  const symbols = sharedSymbols(infos);
  const components = pipeline.components.map((c, i): SourceComponent => {
    const model = models.get(c.name)!;
    const info = { ...infos[i]!, symbols };
    return { info, file: folder ? `${c.name}/model.onnx` : "model.onnx", path: c.model, model };
  });
  const name = basename(resolve(path));
  return { path, name, kind: folder ? "pipeline" : "model", pipeline, components, reference };
}

/** Files a model's weights lie in besides the model itself, absolute. */
function dataFiles(model: Model): Set<string> {
  const files = new Set<string>();
  for (const t of modelTensors(model)) if (t.source.kind === "file") files.add(resolve(t.source.path));
  return files;
}

/** Whether files that weights of a model lie in are not there. */
export function lacksData(model: Model): boolean {
  return [...dataFiles(model)].some((path) => !existsSync(path));
}

/** Descriptions beside the models (configurations, tokenizers, schedules) that a build takes along. */
export function filesToCopy(source: BuildSource): { readonly from: string; readonly to: string }[] {
  const folder = source.kind === "pipeline";
  const root = folder ? source.path : dirname(source.path);
  const weights = new Set(source.components.flatMap((c) => [...dataFiles(c.model)]));
  const wanted = (path: string): boolean => {
    if (NOT_COPIED.has(extname(path).toLowerCase()) || weights.has(resolve(path))) return false;
    return statSync(path).size <= MAX_COPY_BYTES;
  };
  // A single model lies among anything; only what describes it comes along.
  if (!folder)
    return ["config.json", "diffpress.json"]
      .map((name) => ({ from: join(root, name), to: name }))
      .filter(({ from }) => existsSync(from) && wanted(from));
  const out: { from: string; to: string }[] = [];
  const index = ["model_index.json", "diffpress.json"];
  for (const e of readdirSync(root, { withFileTypes: true })) {
    if (e.isFile() && (index.includes(e.name) || /^(readme|license)/i.test(e.name)))
      out.push({ from: join(root, e.name), to: e.name });
    if (!e.isDirectory() || e.name.startsWith(".")) continue;
    const known = source.components.some((c) => c.info.name === e.name);
    if (!known && !/^(scheduler|tokenizer|feature_extractor|image_processor|processor)/.test(e.name))
      continue;
    for (const f of readdirSync(join(root, e.name), { withFileTypes: true }))
      if (f.isFile() && wanted(join(root, e.name, f.name)))
        out.push({ from: join(root, e.name, f.name), to: `${e.name}/${f.name}` });
  }
  const sorted = out.sort((a, b) => (a.to < b.to ? -1 : 1));
  return sorted.slice(0, MAX_COPIES);
}

/** One hash over all model files, their data files and the descriptions, by path relative to the input. */
export async function hashSource(
  source: BuildSource,
  onBytes: (done: number) => void = () => {},
): Promise<{ name: string; sha256: string; bytes: number }> {
  const root = resolve(source.kind === "pipeline" ? source.path : dirname(source.path));
  const files = new Set(filesToCopy(source).map((f) => resolve(f.from)));
  for (const c of source.components) for (const f of [resolve(c.path), ...dataFiles(c.model)]) files.add(f);
  const entries: [string, string][] = [];
  let bytes = 0;
  for (const file of [...files].sort()) {
    const hashed = await hashFile(file);
    bytes += hashed.bytes;
    entries.push([relative(root, file).split(sep).join("/"), hashed.sha256]);
    onBytes(bytes);
  }
  return { name: source.name, sha256: sha256(canonicalJson(entries.sort())), bytes };
}

/** Bytes a component takes on disk: the model file with everything its tensors lie in. */
export function componentBytes(component: SourceComponent): number {
  let bytes = 0;
  for (const f of new Set([resolve(component.path), ...dataFiles(component.model)]))
    bytes += statSync(f).size;
  return bytes;
}
