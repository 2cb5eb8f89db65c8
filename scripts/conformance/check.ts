import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Graph, type Model, subgraphs } from "../../src/ir/graph.ts";
import { fileReader, readModel, writeModel } from "../../src/ir/onnx/index.ts";
import { opSpec } from "../../src/ir/ops/index.ts";
import type { Runtime } from "../../src/runtime/index.ts";
import { checkRuns } from "./runs.ts";
import { checkShapes } from "./shapes.ts";
import { type Draft, reasonOf, type Verdict } from "./verdict.ts";
import { compareModels } from "./wire.ts";

function isRandom(graph: Graph): boolean {
  for (const node of graph.nodes()) {
    if (opSpec(node.domain, node.op)?.traits?.includes("nondeterministic")) return true;
    if (subgraphs(node).some(isRandom)) return true;
  }
  return false;
}

/** Checks one model; `scratch` is a folder for rewritten files. Never throws. */
export async function checkModel(
  file: string,
  folder: string,
  scratch: string,
  runtime: Runtime,
): Promise<Verdict> {
  const wrong: string[] = [];
  const verdict: Draft = {
    file,
    wrong,
    read: false,
    roundTrip: false,
    shapes: "none",
    shapesWithData: "none",
    unknown: null,
    notRun: null,
    compared: 0,
    runtimeDiffers: null,
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
  checkShapes(model, folder, verdict);
  verdict.random = isRandom(model.graph) || model.functions.some((f) => isRandom(f.body));
  await checkRuns(model, { file, rewritten, folder }, runtime, verdict);
  return verdict;
}
