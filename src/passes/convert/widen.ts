import type { Node, NodeId, ValueId } from "../../ir/graph.ts";
import { hasTrait } from "../../ir/ops/index.ts";
import type { FloatFlow } from "./flow.ts";
import type { IslandReason } from "./islands.ts";

/** Nodes that cost little in either precision: they may join an island to save casts. */
const isLight = (n: Node): boolean => hasTrait(n, "elementwise") || hasTrait(n, "moves-data");

/** Casts needed at one value, given which nodes are in fp32. */
function castsAt(flow: FloatFlow, id: ValueId, inF32: (n: NodeId) => boolean): number {
  const { graph } = flow;
  const producer = graph.producer(id);
  const madeF32 = producer === undefined || inF32(producer.id);
  let wide = graph.isOutput(id);
  let narrow = false;
  for (const u of graph.users(id)) {
    if (inF32(u)) wide = true;
    else narrow = true;
  }
  return Number(madeF32 ? narrow : wide);
}

function floatsOf(flow: FloatFlow, nodes: Iterable<Node>): Set<ValueId> {
  const out = new Set<ValueId>();
  for (const n of nodes) for (const id of [...flow.floatInputs(n), ...flow.floatOutputs(n)]) out.add(id);
  return out;
}

/** Casts around a set of nodes saved by moving the set to fp32. */
function saved(flow: FloatFlow, set: readonly Node[], inF32: (n: NodeId) => boolean): number {
  const moved = new Set(set.map((n) => n.id));
  let gain = 0;
  for (const id of floatsOf(flow, set))
    gain += castsAt(flow, id, inF32) - castsAt(flow, id, (n) => moved.has(n) || inF32(n));
  return gain;
}

/** Connected groups of light nodes that are not in fp32 yet. */
function lightGroups(flow: FloatFlow, inF32: (n: NodeId) => boolean): Node[][] {
  const { graph } = flow;
  const seen = new Set<NodeId>();
  const open = (n: Node): boolean => !seen.has(n.id) && isLight(n) && flow.matters(n) && !inF32(n.id);
  const groups: Node[][] = [];
  for (const start of graph.nodes()) {
    if (!open(start)) continue;
    seen.add(start.id);
    const group = [start];
    for (let i = 0; i < group.length; i++) {
      const next: Node[] = [];
      for (const id of flow.floatInputs(group[i]!)) {
        const p = graph.producer(id);
        if (p !== undefined) next.push(p);
      }
      for (const id of flow.floatOutputs(group[i]!))
        for (const u of graph.users(id)) next.push(graph.node(u));
      for (const n of next) {
        if (!open(n)) continue;
        seen.add(n.id);
        group.push(n);
      }
    }
    groups.push(group);
  }
  return groups;
}

/** Rounds of widening; each converts at least one node, and real graphs settle after two or three. */
const MAX_ROUNDS = 64;

/**
 * Widens islands while that saves casts: whole groups of cheap nodes between islands first, then single ones. Nodes
 * only ever move to fp32, so it ends. Adds to `islands`.
 */
export function widenIslands(flow: FloatFlow, islands: Map<NodeId, IslandReason>): void {
  const inF32 = (n: NodeId): boolean => islands.has(n) || flow.constantNodes.has(n);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    let changed = false;
    const take = (set: readonly Node[]): void => {
      if (saved(flow, set, inF32) <= 0) return;
      for (const n of set) islands.set(n.id, "between");
      changed = true;
    };
    for (const group of lightGroups(flow, inF32)) take(group);
    for (const node of flow.graph.nodes())
      if (isLight(node) && flow.matters(node) && !inF32(node.id)) take([node]);
    if (!changed) return;
  }
}

/** Islands as connected sets of fp32 nodes, in graph order. */
export function connectedIslands(flow: FloatFlow, islands: ReadonlyMap<NodeId, IslandReason>): Node[][] {
  const { graph } = flow;
  const seen = new Set<NodeId>();
  const out: Node[][] = [];
  for (const start of graph.nodes()) {
    if (!islands.has(start.id) || seen.has(start.id)) continue;
    seen.add(start.id);
    const part = [start];
    for (let i = 0; i < part.length; i++)
      for (const id of floatsOf(flow, [part[i]!])) {
        const p = graph.producer(id);
        const near = [...(p === undefined ? [] : [p]), ...graph.users(id).map((u) => graph.node(u))];
        for (const n of near) {
          if (!islands.has(n.id) || seen.has(n.id)) continue;
          seen.add(n.id);
          part.push(n);
        }
      }
    out.push(part);
  }
  return out;
}
