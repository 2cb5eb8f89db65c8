import { type Anatomy, anatomy as anatomyOf } from "../ir/anatomy/index.ts";
import { graphCost } from "../ir/cost.ts";
import { elementCount } from "../ir/dtype.ts";
import { type Graph, type Model, opKey, subgraphs, type ValueId } from "../ir/graph.ts";
import { inferShapes } from "../ir/infer.ts";
import { type Tensor, tensorBytes } from "../ir/tensor.ts";
import { modelTensors } from "../ir/weights.ts";
import { countNodes } from "../passes/runner.ts";
import { byPart } from "./parts.ts";
import type { ComponentInspection, PortInfo, Share } from "./types.ts";

/** How many of the largest tensors are listed. */
const LARGEST = 8;

/** What is known of a component besides its model. */
export interface ComponentContext {
  readonly name: string;
  readonly file: string;
  readonly denoiser: boolean;
  readonly dims: readonly string[];
  /** Lengths by symbol to count FLOPs at. */
  readonly lengths: Readonly<Record<string, number>>;
  /** Dims without a length. */
  readonly missing: readonly string[];
}

function share(tensors: Iterable<Tensor>): Share {
  let [count, parameters, bytes] = [0, 0, 0];
  for (const t of tensors) {
    count++;
    parameters += elementCount(t.dims);
    bytes += tensorBytes(t);
  }
  return { tensors: count, parameters, bytes };
}

function byDtype(tensors: readonly Tensor[]): ComponentInspection["byDtype"] {
  const groups = new Map<string, Tensor[]>();
  for (const t of tensors) {
    const list = groups.get(t.dtype);
    if (list === undefined) groups.set(t.dtype, [t]);
    else list.push(t);
  }
  return [...groups].map(([dtype, list]) => ({ dtype, ...share(list) })).sort((a, b) => b.bytes - a.bytes);
}

function opCounts(graph: Graph, counts = new Map<string, number>()): Map<string, number> {
  for (const n of graph.nodes()) {
    const op = opKey(n);
    counts.set(op, (counts.get(op) ?? 0) + 1);
    for (const g of subgraphs(n)) opCounts(g, counts);
  }
  return counts;
}

function port(graph: Graph, id: ValueId, roles: ReadonlyMap<string, string>): PortInfo {
  const { name, type } = graph.value(id);
  const dense = type?.kind === "tensor" ? type : null;
  return {
    name,
    dtype: dense?.dtype ?? type?.kind ?? null,
    shape: dense?.shape ?? null,
    role: roles.get(name) ?? null,
  };
}

function largest(graph: Graph): ComponentInspection["largest"] {
  const all: { name: string; dtype: string; dims: readonly number[]; bytes: number }[] = [];
  for (const v of graph.values())
    if (v.init !== null)
      all.push({ name: v.name, dtype: v.init.dtype, dims: v.init.dims, bytes: tensorBytes(v.init) });
  return all.sort((a, b) => b.bytes - a.bytes || (a.name < b.name ? -1 : 1)).slice(0, LARGEST);
}

/** Looks at one model; reads no weights. The anatomy comes along for estimates. */
export function inspectComponent(
  model: Model,
  context: ComponentContext,
): { readonly inspection: ComponentInspection; readonly anatomy: Anatomy } {
  const { graph } = model;
  const shapes = inferShapes(model);
  const anatomy = anatomyOf(model, shapes);
  const roles = new Map(
    context.denoiser
      ? anatomy.inputs.filter((i) => i.role !== "other").map((i) => [i.name, i.role] as const)
      : [],
  );
  const tensors = [...modelTensors(model)];
  const cost = context.missing.length > 0 ? null : graphCost(model, { bindings: context.lengths, shapes });
  const inputs = graph.inputs.filter((id) => graph.value(id).init === null);
  const inspection: ComponentInspection = {
    name: context.name,
    file: context.file,
    denoiser: context.denoiser,
    irVersion: model.irVersion,
    opsets: Object.fromEntries(model.opsets),
    producer: [model.producer.name, model.producer.version].filter((s) => s !== "").join(" "),
    nodes: countNodes(graph),
    total: share(tensors),
    byDtype: byDtype(tensors),
    byPart: byPart(graph, anatomy),
    ops: [...opCounts(graph)]
      .map(([op, count]) => ({ op, count }))
      .sort((a, b) => b.count - a.count || (a.op < b.op ? -1 : 1)),
    flops: cost?.flops ?? null,
    missing: context.missing,
    shape: context.lengths,
    inputs: inputs.map((id) => port(graph, id, roles)),
    outputs: graph.outputs.map((id) => port(graph, id, new Map())),
    dims: context.dims,
    largest: largest(graph),
  };
  return { inspection, anatomy };
}
