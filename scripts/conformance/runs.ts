import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { completeOptions } from "../../src/compile/recipe/validate.ts";
import { cloneModel } from "../../src/ir/clone.ts";
import type { Dense } from "../../src/ir/evaluator.ts";
import type { Model } from "../../src/ir/graph.ts";
import { findPass, passes, passGroups } from "../../src/passes/index.ts";
import { runPass } from "../../src/passes/runner.ts";
import type { Runtime, Session } from "../../src/runtime/index.ts";
import { difference, readTensorFile } from "./data.ts";
import { type Draft, reasonOf } from "./verdict.ts";

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

/** Runs exact passes, loads original, rewritten and optimised model, and compares their outputs on the data sets. */
export async function checkRuns(
  model: Model,
  at: { readonly file: string; readonly rewritten: string; readonly folder: string },
  runtime: Runtime,
  verdict: Draft,
): Promise<void> {
  const { wrong } = verdict;
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
