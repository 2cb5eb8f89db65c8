import { existsSync } from "node:fs";
import { join } from "node:path";
import { Graph, type Model, type ValueId } from "../../src/ir/graph.ts";
import { inferShapes } from "../../src/ir/infer.ts";
import { inlineTensor, type Tensor } from "../../src/ir/tensor.ts";
import type { Dim, ValueType } from "../../src/ir/types.ts";
import { readTensorFile } from "./data.ts";
import { type Draft, reasonOf } from "./verdict.ts";

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

/** Inputs of the first data set as constants, so that shapes that depend on them are known too. */
function withData(model: Model, folder: string): Model {
  const { graph } = model;
  const open = graph.inputs.filter((id) => graph.value(id).init === null);
  const data = new Map<ValueId, Tensor>();
  for (const [i, id] of open.entries()) {
    const path = join(folder, "test_data_set_0", `input_${i}.pb`);
    const type = graph.value(id).type;
    if (type?.kind !== "tensor" || type.dtype === "string" || !existsSync(path)) continue;
    const dense = readTensorFile(path);
    // bfloat16 data is stored as uint16 in some sets.
    if (dense.dtype !== type.dtype) continue;
    data.set(id, inlineTensor(dense.dtype, dense.dims, dense.bytes));
  }
  const values = [...graph.values()].map((v) => ({ ...v, init: data.get(v.id) ?? v.init }));
  const fed = new Graph({
    ids: graph.ids,
    name: graph.name,
    meta: graph.meta,
    nodes: graph.nodes(),
    values,
    inputs: graph.inputs.filter((id) => !data.has(id)),
    outputs: graph.outputs,
  });
  return { ...model, graph: fed };
}

interface ShapeVerdict {
  readonly match: Match;
  readonly unknown: string | null;
}

/** Compares inferred with declared output types; contradictions go to `wrong`. */
function matchOutputs(declared: Model, model: Model, wrong: string[]): ShapeVerdict {
  const shapes = inferShapes(model);
  let match: Match = "equal";
  let unknown: string | null = null;
  for (const id of declared.graph.outputs) {
    const value = declared.graph.find(id);
    if (value === undefined) continue;
    const m = matchType(shapes.type(id), value.type);
    const text = `"${value.name}" is ${JSON.stringify(shapes.type(id))}, declared ${JSON.stringify(value.type)}`;
    if (m === "conflict") wrong.push(`shapes: ${text}`);
    if (m === "unknown") unknown ??= text;
    match = worst(match, m);
  }
  for (const d of shapes.diagnostics) wrong.push(`shapes: ${d.code} ${d.message}`);
  return { match, unknown };
}

/** Infers output types from input types alone, then with known input data, and compares both with the declared ones. */
export function checkShapes(model: Model, folder: string, verdict: Draft): void {
  const { wrong } = verdict;
  try {
    const bare = undeclared(model);
    verdict.shapes = matchOutputs(model, bare, wrong).match;
    const { match, unknown } = matchOutputs(model, withData(bare, folder), wrong);
    verdict.shapesWithData = match;
    verdict.unknown = unknown;
  } catch (e) {
    wrong.push(`shape inference failed: ${reasonOf(e)}`);
  }
}
