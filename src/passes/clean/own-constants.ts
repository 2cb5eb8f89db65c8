import type { Graph, ValueId } from "../../ir/graph.ts";
import { opSpec } from "../../ir/ops/index.ts";

/** Constants that a runtime rewrites for the node that reads them, and which that node therefore shares with no other. */
export function ownConstants(graph: Graph): ReadonlySet<ValueId> {
  const own = new Set<ValueId>();
  for (const node of graph.nodes())
    for (const i of opSpec(node.domain, node.op)?.ownConstants ?? []) {
      const id = node.inputs[i];
      if (id !== null && id !== undefined) own.add(id);
    }
  return own;
}
