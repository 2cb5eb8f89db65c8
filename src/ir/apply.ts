import { fail } from "../diagnostics/index.ts";
import {
  type Attr,
  Graph,
  type Node,
  type NodeId,
  nodeReads,
  subgraphs,
  type Value,
  type ValueId,
} from "./graph.ts";
import type { Patch } from "./patch.ts";

/** Follows redirect chains to their end. */
function resolver(patch: Patch): (id: ValueId) => ValueId {
  return (id) => {
    let at = id;
    for (let hops = 0; ; hops++) {
      const to = patch.redirect.get(at);
      if (to === undefined) return at;
      if (hops > patch.redirect.size)
        fail("PATCH_INVALID", { patch: patch.label, problem: "redirects form a loop" });
      at = to;
    }
  };
}

/** Copy of a node with every read renamed, subgraphs included; the node itself when nothing changes. */
function rename(node: Node, to: (id: ValueId) => ValueId): Node {
  const inputs = node.inputs.some((i) => i !== null && to(i) !== i)
    ? node.inputs.map((i) => (i === null ? null : to(i)))
    : node.inputs;
  let attrs: Map<string, Attr> | null = null;
  for (const [key, attr] of node.attrs) {
    if (attr.kind === "graph") {
      const g = renameGraph(attr.value, to);
      if (g !== attr.value) (attrs ??= new Map(node.attrs)).set(key, { kind: "graph", value: g });
    } else if (attr.kind === "graphs") {
      const gs = attr.value.map((g) => renameGraph(g, to));
      if (gs.some((g, i) => g !== attr.value[i]))
        (attrs ??= new Map(node.attrs)).set(key, { kind: "graphs", value: gs });
    }
  }
  return inputs === node.inputs && attrs === null ? node : { ...node, inputs, attrs: attrs ?? node.attrs };
}

function renameGraph(graph: Graph, to: (id: ValueId) => ValueId): Graph {
  let changed = false;
  const nodes: Node[] = [];
  for (const n of graph.nodes()) {
    const r = rename(n, to);
    changed ||= r !== n;
    nodes.push(r);
  }
  const outputs = graph.outputs.map(to);
  changed ||= outputs.some((o, i) => o !== graph.outputs[i]);
  if (!changed) return graph;
  return new Graph({
    ids: graph.ids,
    name: graph.name,
    meta: graph.meta,
    nodes,
    values: graph.values(),
    inputs: graph.inputs,
    outputs,
  });
}

/** Stable topological order (Kahn's algorithm with the given order as priority); `null` on a cycle. */
export function topologicalOrder(nodes: readonly Node[]): Node[] | null {
  const position = new Map<NodeId, number>(nodes.map((n, i) => [n.id, i]));
  const producer = new Map<ValueId, NodeId>();
  for (const n of nodes) for (const o of n.outputs) if (o !== null) producer.set(o, n.id);
  const done = new Set<NodeId>();
  const open = new Set<NodeId>();
  const order: Node[] = [];
  // Depth-first with an explicit stack: inputs first, in input order, so an already ordered list stays as it is.
  for (const root of nodes) {
    if (done.has(root.id)) continue;
    const stack: { node: Node; reads: ValueId[]; next: number }[] = [
      { node: root, reads: nodeReads(root), next: 0 },
    ];
    open.add(root.id);
    while (stack.length > 0) {
      const top = stack[stack.length - 1]!;
      const read = top.reads[top.next++];
      if (read === undefined) {
        stack.pop();
        open.delete(top.node.id);
        done.add(top.node.id);
        order.push(top.node);
        continue;
      }
      const p = producer.get(read);
      if (p === undefined || done.has(p)) continue;
      if (open.has(p)) return null;
      const node = nodes[position.get(p)!]!;
      open.add(p);
      stack.push({ node, reads: nodeReads(node), next: 0 });
    }
  }
  return order;
}

/** Names in use, subgraphs included: an inner name may not shadow an outer one. */
function takenNames(graph: Graph, nodes: Set<string>, values: Set<string>): void {
  for (const v of graph.values()) values.add(v.name);
  for (const n of graph.nodes()) {
    nodes.add(n.name);
    for (const g of subgraphs(n)) takenNames(g, nodes, values);
  }
}

function unique(base: string, taken: Set<string>): string {
  let name = base;
  for (let k = 1; taken.has(name); k++) name = `${base}_${k}`;
  taken.add(name);
  return name;
}

/** Checks the whole patch, then applies it; on failure the graph is unchanged and PATCH_INVALID is thrown. */
export function applyPatch(graph: Graph, patch: Patch): void {
  const bad = (problem: string): never => fail("PATCH_INVALID", { patch: patch.label, problem });
  const to = resolver(patch);
  const removed = new Set(patch.remove);
  for (const id of removed) if (!graph.hasNode(id)) bad(`removes node ${id}, which is not in the graph`);

  const values = new Map(graph._values);
  const nodeNames = new Set<string>();
  const valueNames = new Set<string>();
  if (patch.add.length > 0 || patch.values.length > 0) takenNames(graph, nodeNames, valueNames);
  for (const v of patch.values) {
    if (values.has(v.id)) bad(`adds value ${v.id} twice`);
    values.set(v.id, { ...v, name: unique(v.name, valueNames) });
  }
  for (const [id, type] of patch.types) {
    const v = values.get(id) ?? bad(`retypes value ${id}, which is not in the graph`);
    values.set(id, { ...v, type });
  }

  // Nodes that replace a removed one with the same id keep its place; new ones go where their users need them.
  const replaced = new Map(patch.add.filter((n) => removed.has(n.id)).map((n) => [n.id, n]));
  let nodes: Node[] = [];
  for (const n of graph._nodes.values()) {
    const next = removed.has(n.id) ? replaced.get(n.id) : n;
    if (next !== undefined) nodes.push(next);
  }
  for (const n of patch.add) {
    if (replaced.has(n.id)) continue;
    if (graph.hasNode(n.id)) bad(`adds node "${n.name}" whose id is taken`);
    nodes.push({ ...n, name: unique(n.name, nodeNames) });
  }
  if (patch.redirect.size > 0) nodes = nodes.map((n) => rename(n, to));

  // Graph outputs keep their names: the new producer takes the old name, or an Identity bridges where it cannot.
  const outputs = [...graph._outputs];
  const dropNames = new Set<ValueId>();
  for (const [slot, old] of outputs.entries()) {
    const now = to(old);
    if (now === old) continue;
    const target = values.get(now) ?? bad(`redirects an output to value ${now}, which is not in the graph`);
    const before = values.get(old)!;
    const movable = target.init === null && !graph._inputs.includes(now) && !outputs.includes(now);
    if (movable) {
      values.set(now, {
        ...target,
        name: before.name,
        type: before.type,
        ...(before.meta && { meta: before.meta }),
      });
      values.set(old, { ...before, name: unique(`${before.name}_replaced`, valueNames) });
      outputs[slot] = now;
    } else {
      const id = graph.ids.node();
      const out = graph.ids.value();
      values.set(out, { ...before, id: out, producer: id, init: null });
      const name = unique(`${before.name}_identity`, nodeNames);
      nodes.push({
        id,
        name,
        domain: "",
        op: "Identity",
        overload: "",
        inputs: [now],
        outputs: [out],
        attrs: new Map(),
      });
      outputs[slot] = out;
    }
    dropNames.add(old);
  }

  for (const id of patch.drop) {
    const v = values.get(id);
    if (v === undefined || v.init === null || graph._inputs.includes(id))
      bad(`drops ${id}, which is no constant`);
    values.delete(id);
  }
  const made = new Map<ValueId, NodeId>();
  for (const n of nodes) {
    for (const o of n.outputs) {
      if (o === null) continue;
      if (made.has(o)) bad(`value ${values.get(o)?.name ?? o} is made by two nodes`);
      if (!values.has(o)) bad(`node "${n.name}" makes value ${o}, which is not in the graph`);
      made.set(o, n.id);
    }
  }
  const inputs = new Set(graph._inputs);
  const check = (id: ValueId, where: string): void => {
    const v = values.get(id);
    // Values of enclosing graphs are not ours to check.
    if (v === undefined) {
      if (graph._values.has(id)) bad(`${where} reads a removed value`);
      return;
    }
    if (made.has(id) || v.init !== null || v.sparse !== undefined || inputs.has(id)) return;
    bad(`${where} reads "${v.name}", which nothing makes`);
  };
  for (const n of nodes) for (const r of nodeReads(n)) check(r, `node "${n.name}"`);
  for (const o of outputs) check(o, "the graph output");

  const order = patch.add.length > 0 || patch.redirect.size > 0 ? topologicalOrder(nodes) : nodes;
  if (order === null) bad("it makes the graph cyclic");

  const kept = new Map<ValueId, Value>();
  for (const v of values.values()) {
    const producer = made.get(v.id) ?? null;
    const live = producer !== null || v.init !== null || v.sparse !== undefined || inputs.has(v.id);
    if (!live || (dropNames.has(v.id) && producer === null && v.init === null)) continue;
    kept.set(v.id, v.producer === producer ? v : { ...v, producer });
  }
  graph._nodes.clear();
  for (const n of order!) graph._nodes.set(n.id, n);
  graph._values.clear();
  for (const [id, v] of kept) graph._values.set(id, v);
  graph._outputs = outputs;
  graph.version++;
}
