import { type Graph, type Model, subgraphs } from "../ir/graph.ts";
import { type Tensor, tensorBytes } from "../ir/tensor.ts";

/** Initializers of a graph and its subgraphs, in graph order. */
export function* initializers(graph: Graph): Generator<Tensor> {
  for (const v of graph.values()) {
    if (v.init !== null) yield v.init;
    if (v.sparse !== undefined) {
      yield v.sparse.values;
      yield v.sparse.indices;
    }
  }
  for (const n of graph.nodes()) {
    for (const a of n.attrs.values()) if (a.kind === "tensor") yield a.value;
    for (const g of subgraphs(n)) yield* initializers(g);
  }
}

/** Bytes of all constants of a model. */
export function weightBytes(model: Model): number {
  let sum = 0;
  for (const t of initializers(model.graph)) sum += tensorBytes(t);
  return sum;
}
