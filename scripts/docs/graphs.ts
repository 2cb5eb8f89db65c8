// Runs a pass on its example and prints the graph before and after: what docs pages show.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describeModel } from "../../src/calibrate/pipeline.ts";
import { rangesFrom } from "../../src/calibrate/ranges.ts";
import {
  collectFrom,
  crossFrom,
  openTeacher,
  recordOracle,
  type Teacher,
} from "../../src/calibrate/statistics/index.ts";
import { cloneModel } from "../../src/ir/clone.ts";
import type { Model } from "../../src/ir/graph.ts";
import { inferShapes } from "../../src/ir/infer.ts";
import { encodeModel } from "../../src/ir/onnx/index.ts";
import { printGraph } from "../../src/ir/print.ts";
import type { Json } from "../../src/ir/tensor.ts";
import { findPass, passes } from "../../src/passes/index.ts";
import type { Decision, Pass } from "../../src/passes/pass.ts";
import { type PassReport, runPass } from "../../src/passes/runner.ts";
import { createRuntime, type Runtime } from "../../src/runtime/index.ts";
import { target as targetById } from "../../src/targets/index.ts";
import { type Example, examples, type Step } from "./examples/index.ts";

/** A pass at work: the graph it was given, the one it left, and what it said. */
interface Shown {
  readonly before: string;
  readonly after: string;
  readonly decisions: readonly string[];
}

const SCHEDULER = {
  _class_name: "DDIMScheduler",
  num_train_timesteps: 1000,
  beta_schedule: "scaled_linear",
  beta_start: 0.00085,
  beta_end: 0.012,
  prediction_type: "epsilon",
  clip_sample: false,
  steps_offset: 1,
  timestep_spacing: "leading",
};

/** Measurements of a sampled example; all `null` for others. */
async function measures(model: Model, sampled: boolean, runtime: Runtime) {
  const none = async () => null;
  if (!sampled) return { statistics: none, cross: none, ranges: none, oracle: none, release: async () => {} };
  const folder = mkdtempSync(join(tmpdir(), "diffpress-docs-"));
  const path = join(folder, "model.onnx");
  writeFileSync(path, await encodeModel(model, runtime.reader));
  const pipeline = await describeModel({
    model: path,
    scheduler: SCHEDULER,
    config: { in_channels: 4, sample_size: 8 },
  });
  const teacher: Teacher = await openTeacher(runtime, pipeline, {
    samples: 4,
    steps: 4,
    guidance: 1,
    keepBytes: 1 << 24,
  });
  const shared = { runtime, pipeline };
  return {
    statistics: async (of: Model, request: Parameters<typeof collectFrom>[1]["request"]) =>
      await collectFrom(teacher, { ...shared, model: of, request }),
    cross: async (
      models: { compressed: Model; original: Model },
      requests: Parameters<typeof crossFrom>[1]["requests"],
    ) => await crossFrom(teacher, { ...shared, ...models, requests }),
    ranges: async (of: Model) => await rangesFrom(teacher, { ...shared, model: of }),
    oracle: async () => await recordOracle(teacher, runtime, pipeline),
    async release() {
      await teacher.release();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

type Measures = Awaited<ReturnType<typeof measures>>;

function withDefaults(pass: Pass, options: Readonly<Record<string, Json>>): Json {
  const properties = (pass.options["properties"] ?? {}) as Readonly<Record<string, { default?: Json }>>;
  const defaults = Object.entries(properties).map(([name, p]) => [name, p.default!] as const);
  return { ...Object.fromEntries(defaults), ...options };
}

async function step(
  model: Model,
  [name, given = {}]: Step,
  o: { example: Example; measures: Measures; runtime: Runtime },
): Promise<PassReport> {
  const pass = findPass(name)!;
  const target = o.example.target === undefined ? null : targetById(o.example.target);
  const options = withDefaults(pass, given);
  const request = pass.wantsStatistics?.(model.graph, options, {
    model,
    target,
    shapes: () => inferShapes(model),
  });
  const report = await runPass(model, pass, options, {
    evaluator: o.runtime.evaluator,
    reader: o.runtime.reader,
    target,
    seed: 0,
    ranges: pass.wantsRanges?.(options, target) === true ? await o.measures.ranges(model) : null,
    statistics:
      request === undefined || request === null ? null : await o.measures.statistics(model, request),
    oracle: pass.wantsOracle?.(options, target) === true ? await o.measures.oracle() : null,
    collect: o.measures.statistics,
    collectCross: o.measures.cross,
    trail: [],
  });
  return report!;
}

/** Values of constants that are weights, and of all that sampling has a part in. */
const WEIGHTS = /((?:f32|f16|f64)\[(?!1?\])[\d,]+\]) \[[^\]]*\]/g;
const MEASURED = /((?:f32|f16|f64|u8|i8|i32)\[[\d,]*\]) \[[^\]]*\]/g;
const DECIMALS = /-?\d+(?:\.\d+)?(?= dB)|-?\d+\.\d+(?! MFLOP| %|\d)/g;

function dump(model: Model, { sampled, stored }: Example): string {
  const text = printGraph(model, stored === true ? {} : { shapes: inferShapes(model) }).trimEnd();
  return text.replace(sampled === true ? MEASURED : WEIGHTS, "$1");
}

function lineOf(d: Decision): string {
  const what = d.node === "" ? d.rule : `${d.rule} \`${d.node}\``;
  const count = d.count === undefined || d.count === 1 ? "" : ` (${d.count} times)`;
  const change = d.from === undefined && d.to === undefined ? "" : ` ${d.from ?? ""} → ${d.to ?? ""}`;
  const bytes =
    d.bytesAfter === undefined || d.bytesBefore === undefined
      ? ""
      : `, ${d.bytesBefore} → ${d.bytesAfter} bytes`;
  return `${d.kind} ${what}${count}${change === "" ? "" : `:${change}`}${bytes}${d.why === undefined ? "" : `: ${d.why}`}`;
}

/** Runs one example. Fails when the pass does nothing to it. */
async function show(name: string, example: Example, runtime: Runtime): Promise<Shown> {
  const sampled = example.sampled === true;
  const model = example.build();
  const found = await measures(cloneModel(model), sampled, runtime);
  try {
    const o = { example, measures: found, runtime };
    for (const s of example.after ?? []) await step(model, s, o);
    const before = dump(model, example);
    const report = await step(model, [name, example.options ?? {}], o);
    for (const s of [...(example.tidy ?? []), ["remove-dead"] as const]) await step(model, s, o);
    const after = dump(model, example);
    if (!report.changed)
      throw new Error(`the example of ${name} shows nothing: ${JSON.stringify(report.decisions)}`);
    const lines = report.decisions.map(lineOf);
    return { before, after, decisions: sampled ? lines.map((l) => l.replace(DECIMALS, "…")) : lines };
  } finally {
    await found.release();
  }
}

/** The section of a docs page. */
function section(example: Example, shown: Shown): string {
  const code = (value: unknown): string => `\`${JSON.stringify(value)}\``;
  const options = example.options === undefined ? "" : `, with ${code(example.options)}`;
  const target = example.target === undefined ? "" : `, for \`${example.target}\``;
  const behind = (example.after ?? []).map(([name]) => `, behind \`${name}\``).join("");
  const tidy = (example.tidy ?? []).map(([name]) => `\`${name}\``).join(" and ");
  const sampled = example.sampled === true ? " It was sampled; numbers measured on it are left out." : "";
  return [
    "## Before and after",
    "",
    `Of ${example.of}${behind}${target}${options}.${sampled}`,
    "",
    "```text",
    shown.before,
    "```",
    "",
    tidy === "" ? "becomes" : `becomes, once ${tidy} has run,`,
    "",
    "```text",
    shown.after,
    "```",
    "",
    "Recorded:",
    "",
    ...(shown.decisions.length === 0 ? ["- nothing"] : shown.decisions.map((d) => `- ${d}`)),
  ].join("\n");
}

/** The section of every registered pass, by name. Fails for a pass without an example. */
export async function shownPasses(): Promise<ReadonlyMap<string, string>> {
  const runtime = await createRuntime({ workers: 0 });
  try {
    const out = new Map<string, string>();
    for (const { name } of passes) {
      const example = examples[name];
      if (example === undefined) throw new Error(`scripts/docs/examples has none for ${name}`);
      out.set(name, section(example, await show(name, example, runtime)));
    }
    return out;
  } finally {
    await runtime.close();
  }
}
