import { type Graph, type Model, subgraphs } from "../ir/graph.ts";
import { type Tensor, tensorBytes } from "../ir/tensor.ts";

/** Initializers and tensor attributes of a graph and its subgraphs, in graph order. */
export function* initializers(graph: Graph): Generator<Tensor> {
  for (const v of graph.values()) {
    if (v.init !== null) yield v.init;
    if (v.sparse !== undefined) {
      yield v.sparse.values;
      yield v.sparse.indices;
    }
  }
  for (const n of graph.nodes()) {
    for (const a of n.attrs.values()) {
      if (a.kind === "tensor") yield a.value;
      else if (a.kind === "tensors") yield* a.value;
    }
    for (const g of subgraphs(n)) yield* initializers(g);
  }
}

/** Bytes of all constants of a model; those several values share count once. */
export function weightBytes(model: Model): number {
  let sum = 0;
  const graphs = [model.graph, ...model.functions.map((f) => f.body)];
  for (const t of new Set(graphs.flatMap((g) => [...initializers(g)]))) sum += tensorBytes(t);
  return sum;
}
