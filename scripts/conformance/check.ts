import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { completeOptions } from "../../src/compile/recipe/validate.ts";
import { cloneModel } from "../../src/ir/clone.ts";
import type { Dense } from "../../src/ir/evaluator.ts";
import { Graph, type Model, subgraphs } from "../../src/ir/graph.ts";
import { inferShapes } from "../../src/ir/infer.ts";
import { fileReader, readModel, writeModel } from "../../src/ir/onnx/index.ts";
import { opSpec } from "../../src/ir/ops/index.ts";
import type { Dim, ValueType } from "../../src/ir/types.ts";
import { findPass, passes, passGroups } from "../../src/passes/index.ts";
import { runPass } from "../../src/passes/runner.ts";
import type { Runtime, Session } from "../../src/runtime/index.ts";
import { difference, readTensorFile } from "./data.ts";
import { compareModels } from "./wire.ts";

/** What happened to one model. `wrong` makes the run fail; everything else is counted. */
export interface Verdict {
  readonly file: string;
  readonly wrong: readonly string[];
  readonly read: boolean;
  readonly roundTrip: boolean;
  /** Output types: equal, partly unknown where the model declares more, or contradicting. */
  readonly shapes: "equal" | "unknown" | "conflict" | "none";
  /** Which output is less known than declared. */
  readonly unknown: string | null;
  /** Why the runtime cannot load or run the original; `null` when it can. */
  readonly notRun: string | null;
  /** Data sets whose outputs were compared after exact passes. */
  readonly compared: number;
  /** The runtime itself gives something else than the expected output files. */
  readonly runtimeDiffers: string | null;
  /** Outputs depend on chance, so values cannot be compared. */
  readonly random: boolean;
}

const reasonOf = (e: unknown): string =>
  (e instanceof Error ? e.message : String(e)).replace(/\s+/g, " ").trim();

function isRandom(graph: Graph): boolean {
  for (const node of graph.nodes()) {
    if (opSpec(node.domain, node.op)?.traits?.includes("nondeterministic")) return true;
    if (subgraphs(node).some(isRandom)) return true;
  }
  return false;
}

/** The model without declared types of anything but inputs, so that inference cannot lean on them. */
function undeclared(model: Model): Model {
  const { graph } = model;
  const inputs = new Set(graph.inputs);
  const values = [...graph.values()].map((v) => (inputs.has(v.id) ? v : { ...v, type: null }));
  const bare = new Graph({
    ids: graph.ids,
    name: graph.name,
    meta: graph.meta,
    nodes: graph.nodes(),
    values,
    inputs: graph.inputs,
    outputs: graph.outputs,
  });
  return { ...model, graph: bare };
}

type Match = "equal" | "unknown" | "conflict";
const worst = (a: Match, b: Match): Match =>
  a === "conflict" || b === "conflict"
    ? "conflict"
    : a === "unknown" || b === "unknown"
      ? "unknown"
      : "equal";

function matchDim(inferred: Dim, declared: Dim): Match {
  if (inferred === declared || (typeof declared === "string" && declared.startsWith("?"))) return "equal";
  if (typeof inferred === "number" && typeof declared === "number") return "conflict";
  // A number where a name is declared says more than the declaration.
  return typeof inferred === "number" ? "equal" : "unknown";
}

function matchType(inferred: ValueType | null, declared: ValueType | null): Match {
  if (declared === null) return "equal";
  if (inferred === null) return "unknown";
  if (inferred.kind !== declared.kind) return "conflict";
  switch (declared.kind) {
    case "tensor":
    case "sparse": {
      const other = inferred as typeof declared;
      if (other.dtype !== declared.dtype) return "conflict";
      if (declared.shape === null) return "equal";
      if (other.shape === null) return "unknown";
      if (other.shape.length !== declared.shape.length) return "conflict";
      return declared.shape.map((d, i) => matchDim(other.shape![i]!, d)).reduce(worst, "equal");
    }
    case "sequence":
    case "optional":
      return matchType((inferred as typeof declared).element, declared.element);
    case "map":
      return matchType((inferred as typeof declared).value, declared.value);
    case "opaque":
      return "equal";
  }
}

/** Exact passes in the order they run here: the clean group, then every other one with its default options. */
const { clean = [] } = passGroups;
const EXACT: readonly string[] = [
  ...clean,
  ...passes.filter((p) => p.effect === "exact" && !clean.includes(p.name)).map((p) => p.name),
  "remove-dead",
];

async function applyExact(model: Model, runtime: Runtime, count: number): Promise<Model> {
  const out = cloneModel(model);
  const trail: string[] = [];
  for (const name of EXACT.slice(0, count)) {
    const pass = findPass(name)!;
    await runPass(out, pass, completeOptions(pass, {}, "recipe"), {
      evaluator: runtime.evaluator,
      reader: runtime.reader,
      target: null,
      seed: 0,
      ranges: null,
      debug: 1,
      trail,
    });
  }
  return out;
}

interface DataSet {
  readonly name: string;
  readonly inputs: ReadonlyMap<string, Dense>;
  readonly outputs: ReadonlyMap<string, Dense>;
}

function dataSets(folder: string, session: Session): DataSet[] {
  const sets: DataSet[] = [];
  const names = readdirSync(folder).filter((n) => n.startsWith("test_data_set_"));
  for (const name of names.sort()) {
    const load = (kind: string, ports: Session["inputs"]): Map<string, Dense> => {
      const out = new Map<string, Dense>();
      for (const [i, port] of ports.entries()) {
        const path = join(folder, name, `${kind}_${i}.pb`);
        if (existsSync(path)) out.set(port.name, readTensorFile(path));
      }
      return out;
    };
    sets.push({ name, inputs: load("input", session.inputs), outputs: load("output", session.outputs) });
  }
  return sets;
}

function differing(got: ReadonlyMap<string, Dense>, want: ReadonlyMap<string, Dense>): string | null {
  for (const [name, value] of want) {
    const found = got.get(name);
    const why = found === undefined ? "is missing" : difference(found, value);
    if (why !== null) return `output "${name}": ${why}`;
  }
  return null;
}

/** Checks one model; `scratch` is a folder for rewritten files. Never throws. */
export async function checkModel(
  file: string,
  folder: string,
  scratch: string,
  runtime: Runtime,
): Promise<Verdict> {
  const wrong: string[] = [];
  const verdict = {
    file,
    wrong,
    read: false,
    roundTrip: false,
    shapes: "none" as Verdict["shapes"],
    unknown: null as string | null,
    notRun: null as string | null,
    compared: 0,
    runtimeDiffers: null as string | null,
    random: false,
  };
  let model: Model;
  try {
    model = await readModel(file);
    verdict.read = true;
  } catch (e) {
    wrong.push(`cannot be read: ${reasonOf(e)}`);
    return verdict;
  }
  const rewritten = join(scratch, "model.onnx");
  try {
    await writeModel(model, rewritten, { reader: fileReader(), temporary: true });
    const changes = compareModels(readFileSync(file), readFileSync(rewritten), {
      before: file,
      after: rewritten,
    });
    for (const c of changes.slice(0, 3)) wrong.push(`round trip: ${c}`);
    verdict.roundTrip = changes.length === 0;
  } catch (e) {
    wrong.push(`cannot be written: ${reasonOf(e)}`);
  }
  checkShapes(model, verdict);
  verdict.random = isRandom(model.graph) || model.functions.some((f) => isRandom(f.body));
  await checkRuns(model, { file, rewritten, folder }, runtime, verdict);
  return verdict;
}

function checkShapes(
  model: Model,
  verdict: { wrong: readonly string[]; shapes: Verdict["shapes"]; unknown: string | null },
): void {
  const wrong = verdict.wrong as string[];
  try {
    const shapes = inferShapes(undeclared(model));
    let match: Match = "equal";
    for (const id of model.graph.outputs) {
      const value = model.graph.find(id);
      if (value === undefined) continue;
      const m = matchType(shapes.type(id), value.type);
      const texts = `"${value.name}" is ${JSON.stringify(shapes.type(id))}, declared ${JSON.stringify(value.type)}`;
      if (m === "conflict") wrong.push(`shapes: ${texts}`);
      if (m === "unknown") verdict.unknown = texts;
      match = worst(match, m);
    }
    verdict.shapes = match;
    for (const d of shapes.diagnostics) wrong.push(`shapes: ${d.code} ${d.message}`);
  } catch (e) {
    wrong.push(`shape inference failed: ${reasonOf(e)}`);
  }
}

async function checkRuns(
  model: Model,
  at: { readonly file: string; readonly rewritten: string; readonly folder: string },
  runtime: Runtime,
  verdict: {
    notRun: string | null;
    compared: number;
    runtimeDiffers: string | null;
    random: boolean;
    wrong: readonly string[];
  },
): Promise<void> {
  const wrong = verdict.wrong as string[];
  let optimised: Model | null = null;
  try {
    optimised = await applyExact(model, runtime, EXACT.length);
  } catch (e) {
    wrong.push(`exact passes: ${reasonOf(e)}`);
  }
  const plain = { optimize: "disable" } as const;
  let original: Session;
  try {
    original = await runtime.openSession(at.file, plain);
  } catch (e) {
    verdict.notRun = reasonOf(e);
    return;
  }
  let again: Session | null = null;
  let after: Session | null = null;
  try {
    again = await runtime.openSession(at.rewritten, plain);
    if (optimised !== null) after = await runtime.openSession(optimised, plain);
    for (const set of dataSets(at.folder, original)) {
      let want: Map<string, Dense>;
      try {
        want = await original.run(set.inputs);
      } catch (e) {
        verdict.notRun = reasonOf(e);
        continue;
      }
      if (!verdict.random) verdict.runtimeDiffers ??= differing(want, set.outputs);
      const same = (got: Map<string, Dense>): string | null => (verdict.random ? null : differing(got, want));
      const first = same(await again.run(set.inputs));
      if (first !== null) wrong.push(`${set.name} after the round trip: ${first}`);
      if (after === null) continue;
      const second = same(await after.run(set.inputs));
      if (second !== null)
        wrong.push(`${set.name} after exact passes: ${second} (${await guilty(model, runtime, set, want)})`);
      verdict.compared++;
    }
  } catch (e) {
    wrong.push(`runtime: ${reasonOf(e)}`);
  } finally {
    await original.release();
    await again?.release();
    await after?.release();
  }
}

/** The first pass after which the outputs differ. */
async function guilty(
  model: Model,
  runtime: Runtime,
  set: DataSet,
  want: Map<string, Dense>,
): Promise<string> {
  for (let n = 1; n <= EXACT.length; n++) {
    const session = await runtime.openSession(await applyExact(model, runtime, n), { optimize: "disable" });
    try {
      if (differing(await session.run(set.inputs), want) !== null) return `since ${EXACT[n - 1]}`;
    } finally {
      await session.release();
    }
  }
  return "not reproduced pass by pass";
}
