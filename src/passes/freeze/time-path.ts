import { elementCount, isFloat } from "../../ir/dtype.ts";
import { type Graph, type Node, type NodeId, subgraphs, type ValueId } from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import { opSpec } from "../../ir/ops/index.ts";
import { type Tensor, tensorBytes } from "../../ir/tensor.ts";
import { weightLayers } from "../quantize/layers.ts";

/** What a value's elements depend on, from nothing to anything. Lengths of dims are not elements. */
const CONSTANT = 0;
const SHAPE = 1;
const TIME = 2;
const OTHER = 3;

/** A value that depends on the timestep alone and is read by what depends on more. */
export interface Frozen {
  readonly value: ValueId;
  /** Shape behind the axis of rows. */
  readonly rest: readonly number[];
}

/** The part of a graph that a table can stand for. */
export interface TimePath {
  readonly frontier: readonly Frozen[];
  /** Everything the frontier is computed from, in graph order, lengths of dims included. */
  readonly nodes: readonly Node[];
  /** Nodes of which nothing is left to compute once the frontier comes from a table. */
  readonly dead: readonly Node[];
  /** Constants that only those nodes read. */
  readonly constants: readonly ValueId[];
  readonly bytes: number;
}

/** How the elements of every value come about. */
function dependencies(graph: Graph, timestep: ValueId): Map<ValueId, number> {
  const out = new Map<ValueId, number>();
  const of = (id: ValueId | null): number => {
    if (id === null || graph.constant(id) !== null) return CONSTANT;
    return id === timestep ? TIME : (out.get(id) ?? OTHER);
  };
  for (const node of graph.nodes()) {
    const spec = opSpec(node.domain, node.op);
    const opaque =
      spec === undefined || spec.traits?.includes("nondeterministic") === true || subgraphs(node).length > 0;
    const lengths = node.domain === "" && (node.op === "Shape" || node.op === "Size");
    let kind = lengths ? SHAPE : opaque ? OTHER : CONSTANT;
    if (!lengths) for (const i of node.inputs) kind = Math.max(kind, of(i));
    for (const o of node.outputs) if (o !== null) out.set(o, kind);
  }
  return out;
}

/** Nodes behind some values, in graph order; a Shape ends the search, what it measures does not matter. */
function behind(graph: Graph, from: readonly ValueId[]): Node[] {
  const found = new Set<NodeId>();
  const open = [...from];
  while (open.length > 0) {
    const node = graph.producer(open.pop()!);
    if (node === undefined || found.has(node.id)) continue;
    found.add(node.id);
    if (node.domain === "" && (node.op === "Shape" || node.op === "Size")) continue;
    for (const i of node.inputs) if (i !== null) open.push(i);
  }
  return [...graph.nodes()].filter((n) => found.has(n.id));
}

/** Nodes nobody needs once some values come from elsewhere. */
function leftOver(graph: Graph, replaced: ReadonlySet<ValueId>): Node[] {
  const dead = new Set<NodeId>();
  for (const node of [...graph.nodes()].reverse()) {
    const idle = node.outputs.every(
      (o) =>
        o === null || replaced.has(o) || (!graph.isOutput(o) && graph.users(o).every((u) => dead.has(u))),
    );
    const started = node.outputs.some((o) => o !== null && (replaced.has(o) || graph.users(o).length > 0));
    if (idle && started) dead.add(node.id);
  }
  return [...graph.nodes()].filter((n) => dead.has(n.id));
}

/**
 * Finds the largest part of the graph that depends on the timestep alone and holds weights. `open` is told of values
 * whose shape is not known well enough for a table.
 */
export function timePath(
  graph: Graph,
  shapes: InferredShapes,
  timestep: ValueId,
  open: (name: string) => void,
): TimePath {
  const kinds = dependencies(graph, timestep);
  const weighty = new Set<ValueId>();
  const layers = new Set(weightLayers(graph, shapes).map((l) => l.node.id));
  for (const node of graph.nodes()) {
    const heavy = layers.has(node.id) || node.inputs.some((i) => i !== null && weighty.has(i));
    if (heavy) for (const o of node.outputs) if (o !== null) weighty.add(o);
  }
  const frontier: Frozen[] = [];
  for (const node of graph.nodes())
    for (const o of node.outputs) {
      if (o === null || kinds.get(o) !== TIME || !weighty.has(o)) continue;
      const leaves =
        graph.isOutput(o) ||
        graph.users(o).some((u) => graph.node(u).outputs.some((v) => v !== null && kinds.get(v) !== TIME));
      if (!leaves) continue;
      const dims = shapes.shape(o);
      const dtype = shapes.dtype(o);
      const rest = dims?.slice(1).filter((d): d is number => typeof d === "number") ?? [];
      if (
        dims === null ||
        dims.length === 0 ||
        rest.length !== dims.length - 1 ||
        dtype === null ||
        !isFloat(dtype)
      )
        open(graph.value(o).name);
      else frontier.push({ value: o, rest });
    }
  const dead = leftOver(graph, new Set(frontier.map((f) => f.value)));
  const gone = new Set(dead.map((n) => n.id));
  const constants = new Map<ValueId, Tensor>();
  for (const node of dead)
    for (const i of node.inputs) {
      const tensor = i === null ? null : graph.constant(i);
      if (i === null || tensor === null || graph.isOutput(i) || graph.inputs.includes(i)) continue;
      if (graph.users(i).every((u) => gone.has(u))) constants.set(i, tensor);
    }
  return {
    frontier,
    nodes: behind(
      graph,
      frontier.map((f) => f.value),
    ),
    dead,
    constants: [...constants.keys()],
    bytes: [...constants.values()].reduce((n, t) => n + tensorBytes(t), 0),
  };
}

/** Bytes of the tables of a frontier with a row per timestep and one more, float32. */
export function tableBytes(frontier: readonly Frozen[], timesteps: number): number {
  return frontier.reduce((n, f) => n + 4 * (timesteps + 1) * elementCount(f.rest), 0);
}
