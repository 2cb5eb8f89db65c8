import { type Attr, Graph, type IdSource, type Model, type Node } from "./graph.ts";

/** Copies one id source per original, so graphs that shared one share the copy. */
type Sources = Map<IdSource, IdSource>;

function forkOf(ids: IdSource, sources: Sources): IdSource {
  let copy = sources.get(ids);
  if (copy === undefined) {
    copy = ids.fork();
    sources.set(ids, copy);
  }
  return copy;
}

function cloneAttr(attr: Attr, sources: Sources): Attr {
  if (attr.kind === "graph") return { kind: "graph", value: copyGraph(attr.value, sources) };
  if (attr.kind === "graphs") return { kind: "graphs", value: attr.value.map((g) => copyGraph(g, sources)) };
  return attr;
}

function cloneNode(node: Node, sources: Sources): Node {
  let attrs: Map<string, Attr> | null = null;
  for (const [key, attr] of node.attrs) {
    const copy = cloneAttr(attr, sources);
    if (copy !== attr) (attrs ??= new Map(node.attrs)).set(key, copy);
  }
  return attrs === null ? node : { ...node, attrs };
}

function copyGraph(graph: Graph, sources: Sources): Graph {
  const nodes: Node[] = [];
  for (const n of graph.nodes()) nodes.push(cloneNode(n, sources));
  const copy = new Graph({
    ids: forkOf(graph.ids, sources),
    name: graph.name,
    meta: graph.meta,
    nodes,
    values: graph.values(),
    inputs: graph.inputs,
    outputs: graph.outputs,
  });
  copy.version = graph.version;
  return copy;
}

/**
 * A copy of a model that can be patched without touching the original: graph, subgraphs and functions are copied,
 * tensors shared. Ids stay the same and new ids go on from the same number, so the same passes on two copies give the
 * same names.
 */
export function cloneModel(model: Model): Model {
  const sources: Sources = new Map();
  return {
    ...model,
    graph: copyGraph(model.graph, sources),
    functions: model.functions.map((f) => ({ ...f, body: copyGraph(f.body, sources) })),
  };
}
