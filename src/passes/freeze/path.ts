import { elementCount, isFloat } from "../../ir/dtype.ts";
import { type Graph, type Node, type NodeId, subgraphs, type ValueId } from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import { opSpec } from "../../ir/ops/index.ts";
import { type Tensor, tensorBytes } from "../../ir/tensor.ts";
import { weightLayers } from "../quantize/layers.ts";

/** What a value's elements depend on, from nothing to anything. Lengths of dims are not elements. */
const CONSTANT = 0;
const SHAPE = 1;
const CHOSEN = 2;
const OTHER = 3;

/** A value that depends on chosen inputs alone and is read by what depends on more. */
export interface Frozen {
  readonly value: ValueId;
  /** Shape behind the axis of rows. */
  readonly rest: readonly number[];
}

/** The part of a graph that a table can stand for. */
export interface FrozenPath {
  readonly frontier: readonly Frozen[];
  /** Names of values that leave the part and that no table can hold. */
  readonly open: readonly string[];
  /** Everything the frontier is computed from, in graph order, lengths of dims included. */
  readonly nodes: readonly Node[];
  /** Nodes of which nothing is left to compute once the frontier comes from a table. */
  readonly dead: readonly Node[];
  /** Constants that only those nodes read. */
  readonly constants: readonly ValueId[];
  readonly bytes: number;
}

/** How the elements of every value come about. */
function dependencies(graph: Graph, inputs: ReadonlySet<ValueId>): Map<ValueId, number> {
  const out = new Map<ValueId, number>();
  const of = (id: ValueId | null): number => {
    if (id === null || graph.constant(id) !== null) return CONSTANT;
    return inputs.has(id) ? CHOSEN : (out.get(id) ?? OTHER);
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

/** The shape behind the axis of rows where it has numbers; `null` where no table can hold the value. */
export function staticRest(shapes: InferredShapes, value: ValueId): readonly number[] | null {
  const dims = shapes.shape(value);
  const dtype = shapes.dtype(value);
  const rest = dims?.slice(1).filter((d): d is number => typeof d === "number") ?? [];
  if (dims === null || dims.length === 0 || rest.length !== dims.length - 1) return null;
  return dtype !== null && isFloat(dtype) ? rest : null;
}

/** Which part of a graph is looked for. */
export interface PathOptions {
  /** What it may depend on. */
  readonly inputs: ReadonlySet<ValueId>;
  /** The shape behind the axis of rows; `null` where no table can hold a value: what is computed from others then is. */
  rest(value: ValueId): readonly number[] | null;
}

/** Finds the largest part of the graph that depends on some inputs alone, holds weights and ends in what tables can hold. */
export function frozenPath(graph: Graph, shapes: InferredShapes, { inputs, rest }: PathOptions): FrozenPath {
  const kinds = dependencies(graph, inputs);
  const weighty = new Set<ValueId>();
  const layers = new Set(weightLayers(graph, shapes).map((l) => l.node.id));
  for (const node of graph.nodes()) {
    const heavy = layers.has(node.id) || node.inputs.some((i) => i !== null && weighty.has(i));
    if (heavy) for (const o of node.outputs) if (o !== null) weighty.add(o);
  }
  const found: Frozen[] = [];
  const open: ValueId[] = [];
  const held = new Map<ValueId, readonly number[] | null>();
  for (const node of graph.nodes())
    for (const o of node.outputs)
      if (o !== null && kinds.get(o) === CHOSEN) held.set(o, weighty.has(o) ? rest(o) : null);
  const leaves = (value: ValueId, stays: (v: ValueId) => boolean): boolean =>
    graph.isOutput(value) ||
    graph.users(value).some((u) => graph.node(u).outputs.some((v) => v !== null && !stays(v)));
  for (const [value, shape] of held) {
    if (shape !== null && leaves(value, (v) => (held.get(v) ?? null) !== null))
      found.push({ value, rest: shape });
    if (shape === null && weighty.has(value) && leaves(value, (v) => held.has(v))) open.push(value);
  }
  const dead = leftOver(graph, new Set(found.map((f) => f.value)));
  const gone = new Set(dead.map((n) => n.id));
  // What only leads to other tables needs none.
  const frontier = found.filter(
    ({ value }) => graph.isOutput(value) || graph.users(value).some((u) => !gone.has(u)),
  );
  const constants = new Map<ValueId, Tensor>();
  for (const node of dead)
    for (const i of node.inputs) {
      const tensor = i === null ? null : graph.constant(i);
      if (i === null || tensor === null || graph.isOutput(i) || graph.inputs.includes(i)) continue;
      if (graph.users(i).every((u) => gone.has(u))) constants.set(i, tensor);
    }
  return {
    frontier,
    open: open.map((v) => graph.value(v).name),
    nodes: behind(
      graph,
      frontier.map((f) => f.value),
    ),
    dead,
    constants: [...constants.keys()],
    bytes: [...constants.values()].reduce((n, t) => n + tensorBytes(t), 0),
  };
}

/** Bytes of the tables of a frontier with so many rows and one more, float32. */
export function tableBytes(frontier: readonly Frozen[], rows: number): number {
  return frontier.reduce((n, f) => n + 4 * (rows + 1) * elementCount(f.rest), 0);
}
