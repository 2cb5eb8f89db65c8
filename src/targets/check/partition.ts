import { type Node, type NodeId, nodeReads } from "../../ir/graph.ts";
import type { CheckView } from "./view.ts";

/** Connected accelerated nodes of one depth. */
function countGroups(
  nodes: readonly Node[],
  depth: ReadonlyMap<NodeId, number>,
  before: (node: Node) => readonly Node[],
  leaves: (node: Node) => boolean,
): number {
  const group = new Map<NodeId, NodeId>();
  const root = (id: NodeId): NodeId => {
    let at = id;
    while (group.get(at) !== at) at = group.get(at)!;
    return at;
  };
  for (const node of nodes) {
    if (leaves(node)) continue;
    group.set(node.id, node.id);
    for (const p of before(node))
      if (!leaves(p) && depth.get(p.id) === depth.get(node.id)) group.set(root(p.id), root(node.id));
  }
  return [...group.keys()].filter((id) => root(id) === id).length;
}

/**
 * Number of maximal subgraphs of accelerated nodes: those that one call of the accelerator can run, since no path between
 * two of their nodes leads outside. A node is as deep as the number of changes between accelerator and CPU on the way to
 * it; connected accelerated nodes of one depth go together. Nodes may run as early as their inputs or as late as their
 * readers allow, and the better of the two counts.
 */
export function countPartitions(view: CheckView, leaves: (node: Node) => boolean): number {
  const { nodes } = view;
  const running = new Set(nodes.map((n) => n.id));
  const inputs = new Map(
    nodes.map((n) => {
      const from = nodeReads(n).map((v) => view.producer(v));
      return [n.id, from.filter((p): p is Node => p !== undefined && running.has(p.id))] as const;
    }),
  );
  const before = (n: Node): readonly Node[] => inputs.get(n.id)!;
  const change = (a: Node, b: Node): number => (leaves(a) === leaves(b) ? 0 : 1);
  const early = new Map<NodeId, number>();
  for (const n of nodes)
    early.set(n.id, Math.max(0, ...before(n).map((p) => early.get(p.id)! + change(p, n))));
  const late = new Map<NodeId, number>();
  for (const n of [...nodes].reverse()) {
    const own = late.get(n.id) ?? early.get(n.id)!;
    late.set(n.id, own);
    for (const p of before(n))
      late.set(p.id, Math.min(late.get(p.id) ?? Number.POSITIVE_INFINITY, own - change(p, n)));
  }
  return Math.min(...[early, late].map((depth) => countGroups(nodes, depth, before, leaves)));
}
