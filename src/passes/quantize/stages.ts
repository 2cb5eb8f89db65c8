import { elementCount } from "../../ir/dtype.ts";
import type { Graph, NodeId, ValueId } from "../../ir/graph.ts";
import { isInteger } from "./fitting.ts";
import type { Shared } from "./plan.ts";

/** Over each layer, how many layers of a set lie between it and the inputs of the graph. */
export function layerDepths(graph: Graph, layers: ReadonlySet<NodeId>): ReadonlyMap<NodeId, number> {
  const ofValue = new Map<ValueId, number>();
  const ofLayer = new Map<NodeId, number>();
  for (const node of graph.nodes()) {
    const before = node.inputs.reduce<number>(
      (most, id) => (id === null ? most : Math.max(most, ofValue.get(id) ?? 0)),
      0,
    );
    const counts = layers.has(node.id);
    if (counts) ofLayer.set(node.id, before);
    for (const id of node.outputs) if (id !== null) ofValue.set(id, before + (counts ? 1 : 0));
  }
  return ofLayer;
}

/**
 * Cuts weights into at most `count` + 1 stages in the order the network computes them, about equally many in each. Layers
 * of one stage do not wait for each other; a weight that several layers read belongs to the first of them. Weights that
 * do not become integers hardly change what follows and go first.
 */
export function stagesOf(graph: Graph, all: readonly Shared[], count: number): readonly Shared[][] {
  const integers = all.filter((s) => isInteger(s.format));
  if (count === 0 || integers.length === 0) return [[...all]];
  const depth = layerDepths(graph, new Set(integers.flatMap((s) => s.uses.map((u) => u.layer.node.id))));
  const depthOf = (s: Shared): number => Math.min(...s.uses.map((u) => depth.get(u.layer.node.id)!));
  const byDepth = new Map<number, Shared[]>();
  for (const s of integers) byDepth.set(depthOf(s), [...(byDepth.get(depthOf(s)) ?? []), s]);
  const levels = [...byDepth].sort(([a], [b]) => a - b).map(([, level]) => level);
  const stages: Shared[][] = [];
  let seen = 0;
  for (const level of levels) {
    // A level goes where its middle falls among all weights.
    const place = Math.floor(((seen + level.length / 2) / integers.length) * (count + 1));
    seen += level.length;
    while (stages.length <= place) stages.push([]);
    stages[place]!.push(...level);
  }
  const [first, ...later] = stages.filter((s) => s.length > 0);
  return [[...all.filter((s) => !isInteger(s.format)), ...first!], ...later];
}

/** Bytes of sums that are collected at once. */
const SUMS_BYTES = 512 << 20;

/** Cuts a stage so that what is collected for a part of it, two matrices over the inputs of each weight, stays small. */
export function portionsOf(stage: readonly Shared[], most: number = SUMS_BYTES): readonly Shared[][] {
  const portions: Shared[][] = [];
  let room = 0;
  for (const s of stage) {
    const { tensor, role } = s.uses[0]!.layer;
    const inputs = elementCount(tensor.dims) / tensor.dims[role.outAxis]!;
    const bytes = 2 * 8 * inputs * inputs;
    if (portions.length === 0 || bytes > room) {
      portions.push([]);
      room = most;
    }
    portions.at(-1)!.push(s);
    room -= bytes;
  }
  return portions;
}
