import { type Graph, IdSource, type Node, type NodeId, subgraphs, type ValueId } from "../ir/graph.ts";

function highest(graph: Graph, from: number): number {
  let top = from;
  for (const v of graph.values()) top = Math.max(top, v.id);
  for (const n of graph.nodes()) {
    top = Math.max(top, n.id);
    for (const g of subgraphs(n)) top = highest(g, top);
  }
  return top;
}

/** Ids that nothing in the graph or its subgraphs uses, whatever source its own ids come from. */
export function freshIds(graph: Graph): { node(): NodeId; value(): ValueId } {
  const ids = new IdSource();
  for (let n = highest(graph, -1); n >= 0; n--) ids.node();
  return ids;
}

/** A Cast, Add … of the standard domain, for graphs that are rewritten just before they run. */
export function plainNode(
  id: NodeId,
  op: string,
  inputs: readonly ValueId[],
  output: ValueId,
  attrs: Node["attrs"] = new Map(),
): Node {
  return { id, name: "", domain: "", op, overload: "", inputs, outputs: [output], attrs };
}
