import { fail } from "../../diagnostics/index.ts";
import { type Node, nodeReads, type ValueId } from "../graph.ts";

/** Fails with GRAPH_CYCLE naming a node on a cycle. */
export function failOnCycle(file: string, nodes: readonly Node[]): never {
  const producer = new Map<ValueId, Node>();
  for (const n of nodes) for (const o of n.outputs) if (o !== null) producer.set(o, n);
  // Walking backwards over nodes that cannot be ordered never leaves them and ends on a cycle.
  const waiting = new Map<Node, number>();
  const users = new Map<Node, Node[]>();
  for (const n of nodes) {
    const sources = new Set(nodeReads(n).map((r) => producer.get(r)));
    sources.delete(undefined);
    waiting.set(n, sources.size);
    for (const s of sources) {
      const list = users.get(s!);
      if (list === undefined) users.set(s!, [n]);
      else list.push(n);
    }
  }
  const ready = nodes.filter((n) => waiting.get(n) === 0);
  for (let n = ready.pop(); n !== undefined; n = ready.pop()) {
    waiting.delete(n);
    for (const u of users.get(n) ?? []) {
      const left = waiting.get(u)! - 1;
      waiting.set(u, left);
      if (left === 0) ready.push(u);
    }
  }
  let node = waiting.keys().next().value;
  const seen = new Set<Node>();
  while (node !== undefined && !seen.has(node)) {
    seen.add(node);
    node = nodeReads(node)
      .map((r) => producer.get(r))
      .find((p) => p !== undefined && waiting.has(p));
  }
  return fail("GRAPH_CYCLE", { file, node: node?.name || (node?.op ?? "") });
}
