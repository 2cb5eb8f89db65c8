import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Fixture, feedsFor, fixture, fixtures } from "../../fixtures/build/index.ts";
import { isFloat } from "../../src/ir/dtype.ts";
import type { Dense } from "../../src/ir/evaluator.ts";
import type { Model } from "../../src/ir/graph.ts";
import { encodeModel, readModel, writeModel } from "../../src/ir/onnx/index.ts";
import type { Json } from "../../src/ir/tensor.ts";
import type { Pass } from "../../src/passes/pass.ts";
import { runPass } from "../../src/passes/runner.ts";
import type { Runtime } from "../../src/runtime/index.ts";
import type { Target } from "../../src/targets/target.ts";
import { toNumbers } from "./numbers.ts";

/** A model the laws run over: builds or reads it anew for every use. */
export interface Subject {
  readonly name: string;
  readonly fixture: Fixture;
  /** Takes seconds a setting: run where a pass is tried first, not with every option. */
  readonly large?: boolean;
  load(): Promise<Model>;
}

const CIFAR = fileURLToPath(new URL("../../fixtures/cifar-unet/unet/model.onnx", import.meta.url));

const cifarUnet: Subject = {
  name: "cifar-unet",
  fixture: {
    name: "cifar-unet",
    note: "a trained U-Net as exported",
    dims: { batch_size: 2, height: 16, width: 16, steps: 1, sequence_length: 8 },
    below: { timestep: 1000 },
    build() {
      throw new Error("cifar-unet is read, not built");
    },
  },
  large: true,
  load: () => readModel(CIFAR),
};

/** The tiny U-Net with every weight in a data file beside it. */
export async function externalSubject(
  runtime: Runtime,
): Promise<{ subject: Subject; remove(): Promise<void> }> {
  const dir = await mkdtemp(join(tmpdir(), "diffpress-laws-"));
  const unet = fixture("tiny-unet");
  const path = join(dir, "model.onnx");
  await writeModel(unet.build(), path, { reader: runtime.reader, external: { threshold: 64, align: 4096 } });
  return {
    subject: { name: "external-data", fixture: unet, load: () => readModel(path) },
    remove: () => rm(dir, { recursive: true, force: true }),
  };
}

/** Built fixtures and the trained U-Net. */
export const subjects: readonly Subject[] = [
  ...fixtures.map((f): Subject => ({ name: f.name, fixture: f, load: async () => f.build() })),
  cifarUnet,
];

/** Options as the pass's own schema defaults them. */
export function defaultOptions(pass: Pass): Json {
  const properties = pass.options["properties"] as
    | Readonly<Record<string, { readonly default?: Json }>>
    | undefined;
  const entries = Object.entries(properties ?? {}).filter(([, p]) => p.default !== undefined);
  return Object.fromEntries(entries.map(([name, p]) => [name, p.default!]));
}

/** Applies one pass with the runner the compiler uses. */
export async function applyPass(
  model: Model,
  pass: Pass,
  runtime: Runtime,
  options: Json = defaultOptions(pass),
  target: Target | null = null,
): Promise<void> {
  await runPass(model, pass, options, {
    evaluator: runtime.evaluator,
    reader: runtime.reader,
    target,
    seed: 0,
    ranges: null,
    trail: [],
  });
}

/** sha256 of the serialized model. */
export async function digest(model: Model, runtime: Runtime): Promise<string> {
  return createHash("sha256")
    .update(await encodeModel(model, runtime.reader))
    .digest("hex");
}

/** Graph inputs and outputs in order: names, element types, ranks. Lengths may become known. */
export function signature(model: Model): unknown {
  const port = (id: Model["graph"]["inputs"][number]) => {
    const { name, type } = model.graph.value(id);
    return type?.kind === "tensor"
      ? { name, dtype: type.dtype, rank: type.shape?.length ?? null }
      : { name, type };
  };
  return { inputs: model.graph.inputs.map(port), outputs: model.graph.outputs.map(port) };
}

/** Outputs on seeded feeds. Session optimisation is off unless said, so that only the model itself can differ. */
export async function outputsOf(
  model: Model,
  subject: Subject,
  runtime: Runtime,
  optimize: "disable" | "all" = "disable",
): Promise<Map<string, Dense>> {
  const session = await runtime.openSession(model, { optimize });
  try {
    return await session.run(feedsFor(subject.fixture, model));
  } finally {
    await session.release();
  }
}

/**
 * Largest difference of two result sets relative to the largest reference magnitude of each output; `Infinity` when
 * names, types, shapes or integers differ.
 */
export function distance(
  reference: ReadonlyMap<string, Dense>,
  candidate: ReadonlyMap<string, Dense>,
): number {
  let worst = reference.size === candidate.size ? 0 : Number.POSITIVE_INFINITY;
  for (const [name, r] of reference) {
    const c = candidate.get(name);
    if (c === undefined || c.dtype !== r.dtype || c.dims.join() !== r.dims.join())
      return Number.POSITIVE_INFINITY;
    const a = toNumbers(r);
    const b = toNumbers(c);
    const scale = Math.max(1e-30, ...a.map(Math.abs));
    for (let i = 0; i < a.length; i++) {
      const off = Object.is(a[i], b[i]) || a[i] === b[i] ? 0 : Math.abs(a[i]! - b[i]!);
      if (off > 0 && !isFloat(r.dtype)) return Number.POSITIVE_INFINITY;
      worst = Math.max(worst, Number.isNaN(off) ? Number.POSITIVE_INFINITY : off / scale);
    }
  }
  return worst;
}

/** Lowest signal-to-noise ratio in dB over the float outputs; `-Infinity` when names or shapes differ. */
export function lowestSqnr(
  reference: ReadonlyMap<string, Dense>,
  candidate: ReadonlyMap<string, Dense>,
): number {
  let worst = Number.POSITIVE_INFINITY;
  for (const [name, r] of reference) {
    const c = candidate.get(name);
    if (c === undefined || c.dtype !== r.dtype || c.dims.join() !== r.dims.join())
      return Number.NEGATIVE_INFINITY;
    if (!isFloat(r.dtype)) continue;
    const a = toNumbers(r);
    const b = toNumbers(c);
    let signal = 0;
    let noise = 0;
    for (let i = 0; i < a.length; i++) {
      signal += a[i]! ** 2;
      noise += (a[i]! - b[i]!) ** 2;
    }
    if (noise > 0) worst = Math.min(worst, 10 * Math.log10(signal / noise));
    else if (Number.isNaN(noise)) return Number.NEGATIVE_INFINITY;
  }
  return worst;
}
