import { isFloat } from "../../ir/dtype.ts";
import type { Graph, Node, NodeId, ValueId } from "../../ir/graph.ts";
import { attrInts, nodeReads } from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import { hasTrait } from "../../ir/ops/index.ts";
import type { Layer } from "./layers.ts";

/**
 * Why a layer gets more bits than the rest. `edge`: first or last layer on the way of the sample; `time`: a layer that
 * turns the timestep into an embedding; `sampler`: changes the resolution; `shortcut`: the linear bypass of a block.
 */
export type Guard = "edge" | "time" | "sampler" | "shortcut";

/** Nodes looked at while searching for the start of a bypassed block. */
const BLOCK_SPAN = 64;

/** The graph input that becomes the output: a float one, of the output's rank, the largest such. */
function sampleInput(graph: Graph, shapes: InferredShapes): ValueId | null {
  const rank = shapes.shape(graph.outputs[0]!)?.length;
  const floats = graph.inputs.filter((id) => {
    const dtype = shapes.dtype(id);
    return dtype !== null && isFloat(dtype) && graph.value(id).init === null;
  });
  return floats.find((id) => shapes.shape(id)?.length === rank) ?? floats[0] ?? null;
}

/** For every value, whether it depends on the sample, and whether on any graph input at all. */
function dependencies(graph: Graph, sample: ValueId | null): { sample: Set<ValueId>; any: Set<ValueId> } {
  const fromSample = new Set<ValueId>(sample === null ? [] : [sample]);
  const fromAny = new Set<ValueId>(graph.inputs);
  for (const node of graph.nodes()) {
    const reads = nodeReads(node);
    const s = reads.some((r) => fromSample.has(r));
    const a = s || reads.some((r) => fromAny.has(r));
    for (const o of node.outputs) {
      if (o === null) continue;
      if (s) fromSample.add(o);
      if (a) fromAny.add(o);
    }
  }
  return { sample: fromSample, any: fromAny };
}

/** Layers reached from a value before any other layer. */
function nextLayers(graph: Graph, from: ValueId, layers: ReadonlyMap<NodeId, Layer>): Layer[] {
  const out: Layer[] = [];
  const seen = new Set<ValueId>([from]);
  const queue = [from];
  for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
    for (const user of graph.users(at)) {
      const layer = layers.get(user);
      if (layer !== undefined) {
        if (!out.includes(layer)) out.push(layer);
        continue;
      }
      for (const o of graph.node(user).outputs)
        if (o !== null && !seen.has(o)) {
          seen.add(o);
          queue.push(o);
        }
    }
  }
  return out;
}

/** The last layers before a value: several when it sums several branches. */
function layersBefore(graph: Graph, to: ValueId, layers: ReadonlyMap<NodeId, Layer>): Layer[] {
  const out: Layer[] = [];
  const seen = new Set<ValueId>([to]);
  const queue = [to];
  for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
    const node = graph.producer(at);
    if (node === undefined) continue;
    const layer = layers.get(node.id);
    if (layer !== undefined) {
      if (!out.includes(layer)) out.push(layer);
      continue;
    }
    for (const r of nodeReads(node))
      if (!seen.has(r)) {
        seen.add(r);
        queue.push(r);
      }
  }
  return out;
}

/** Layers of the time path: from scalars to an embedding, with another such layer behind them. */
function timeLayers(graph: Graph, shapes: InferredShapes, layers: ReadonlyMap<NodeId, Layer>): Layer[] {
  const sample = sampleInput(graph, shapes);
  const depends = dependencies(graph, sample);
  const scalars = graph.inputs.filter((id) => id !== sample && (shapes.shape(id)?.length ?? 9) <= 1);
  const fromScalars = new Set<ValueId>(scalars);
  for (const node of graph.nodes())
    if (nodeReads(node).some((r) => fromScalars.has(r)))
      for (const o of node.outputs) if (o !== null) fromScalars.add(o);
  const onPath = (l: Layer): boolean => {
    const x = l.node.inputs[l.role.activation];
    return x !== null && x !== undefined && fromScalars.has(x) && !depends.sample.has(x);
  };
  return [...layers.values()].filter(
    (l) => onPath(l) && nextLayers(graph, l.node.outputs[0]!, layers).some((n) => n !== l && onPath(n)),
  );
}

/** A layer that changes the resolution: it strides, or reads what was just resized. */
function isSampler(graph: Graph, shapes: InferredShapes, l: Layer): boolean {
  if (l.tensor.dims.length < 3) return false;
  if (attrInts(l.node, "strides")?.some((s) => s > 1)) return true;
  const x = l.node.inputs[l.role.activation];
  const before = graph.producer(x);
  const from = before?.inputs[0];
  if (x === null || x === undefined || before === undefined || from === null || from === undefined)
    return false;
  if (hasTrait(before, "normalization") || hasTrait(before, "reduction")) return false;
  const [a, b] = [shapes.shape(from), shapes.shape(x)];
  const rank = l.tensor.dims.length;
  // Same channels, other lengths behind them: a Resize in any spelling.
  return a?.length === rank && b?.length === rank && a[1] === b[1] && a.slice(2).join() !== b.slice(2).join();
}

/** A 1×1 layer added to the result of a longer branch that starts at the same value. */
function isShortcut(graph: Graph, l: Layer): boolean {
  const { dims } = l.tensor;
  if (dims.length < 3 || dims.slice(2).some((d) => d !== 1)) return false;
  const start = l.node.inputs[l.role.activation];
  const out = l.node.outputs[0]!;
  const [sum, more] = graph.users(out);
  if (sum === undefined || more !== undefined) return false;
  const add = graph.node(sum);
  if (!hasTrait(add, "elementwise") || add.inputs.length !== 2) return false;
  const other = add.inputs[0] === out ? add.inputs[1] : add.inputs[0];
  const queue: Node[] = [];
  const push = (id: ValueId | null | undefined): void => {
    const p = graph.producer(id);
    if (p !== undefined && !queue.includes(p)) queue.push(p);
  };
  push(other);
  for (let i = 0; i < queue.length && i < BLOCK_SPAN; i++) {
    if (queue[i]!.inputs.includes(start!)) return true;
    for (const id of queue[i]!.inputs) push(id);
  }
  return false;
}

/** Which layers are guarded and why; a layer that is several things has the first name of {@link Guard}. */
export function guardedLayers(
  graph: Graph,
  shapes: InferredShapes,
  all: readonly Layer[],
): ReadonlyMap<NodeId, Guard> {
  const layers = new Map(all.map((l) => [l.node.id, l]));
  const out = new Map<NodeId, Guard>();
  const mark = (l: Layer, guard: Guard): void => {
    if (!out.has(l.node.id)) out.set(l.node.id, guard);
  };
  const sample = sampleInput(graph, shapes);
  if (sample !== null) {
    const [first] = all.filter((l) => nextLayers(graph, sample, layers).includes(l));
    if (first !== undefined) mark(first, "edge");
  }
  for (const id of graph.outputs) {
    const before = layersBefore(graph, id, layers);
    const last = all.findLast((l) => before.includes(l));
    if (last !== undefined) mark(last, "edge");
  }
  for (const l of timeLayers(graph, shapes, layers)) mark(l, "time");
  for (const l of all) {
    if (isSampler(graph, shapes, l)) mark(l, "sampler");
    else if (isShortcut(graph, l)) mark(l, "shortcut");
  }
  return out;
}
