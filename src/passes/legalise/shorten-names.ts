import { Graph, type Node, subgraphs, type Value, type ValueId } from "../../ir/graph.ts";
import { definePass } from "../pass.ts";

/** Names used inside subgraphs, which see the names around them. */
function innerNames(graph: Graph, into: Set<string>): void {
  for (const node of graph.nodes())
    for (const g of subgraphs(node)) {
      for (const v of g.values()) into.add(v.name);
      innerNames(g, into);
    }
}

/** Short names in order, leaving out those that are taken. */
function* shortNames(taken: ReadonlySet<string>): Generator<string> {
  for (let i = 0; ; i++) {
    const name = i.toString(36);
    if (!taken.has(name)) yield name;
  }
}

export const shortenNames = definePass<Record<string, never>>({
  name: "shorten-names",
  family: "legalise",
  summary: "Gives inner values and nodes short names; graph inputs and outputs keep theirs",
  doc: `Exporters write the whole module path into every name. In a model of a few megabytes these names are a tenth of
the file. Graph inputs and outputs are its interface and keep their names, and so do values inside subgraphs of control
flow. Reports name nodes as they were before. A recipe asks for it with \`output: { names: short }\`.`,
  effect: "exact",
  options: { type: "object", additionalProperties: false, properties: {} },
  version: 1,
  run(graph, _options, ctx) {
    const kept = new Set<ValueId>([...graph.inputs, ...graph.outputs]);
    const taken = new Set([...kept].map((id) => graph.value(id).name));
    innerNames(graph, taken);
    const next = shortNames(taken);
    let saved = 0;
    const shorter = (name: string): string => {
      const short = next.next().value as string;
      saved += name.length - short.length;
      return short;
    };
    const values: Value[] = [];
    for (const v of graph.values()) values.push(kept.has(v.id) ? v : { ...v, name: shorter(v.name) });
    const nodes: Node[] = [];
    let n = 0;
    for (const node of graph.nodes()) {
      const name = (n++).toString(36);
      saved += node.name.length - name.length;
      nodes.push({ ...node, name });
    }
    const renamed = new Graph({
      ids: graph.ids,
      name: graph.name,
      meta: graph.meta,
      nodes,
      values,
      inputs: graph.inputs,
      outputs: graph.outputs,
    });
    renamed.version = graph.version + 1;
    ctx.model.graph = renamed;
    ctx.decide({
      node: "",
      kind: "applied",
      rule: "short-names",
      count: nodes.length,
      bytesBefore: saved,
      bytesAfter: 0,
    });
  },
});
