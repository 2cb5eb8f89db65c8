import { type Graph, type Model, subgraphs } from "./graph.ts";
import { type Tensor, tensorBytes } from "./tensor.ts";

/** Every constant of a graph in graph order: initializers, then tensor attributes, subgraphs included. */
export function* graphTensors(graph: Graph): Generator<Tensor> {
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
    for (const g of subgraphs(n)) yield* graphTensors(g);
  }
}

/** Every constant of a model, those of function bodies included. */
export function* modelTensors(model: Model): Generator<Tensor> {
  yield* graphTensors(model.graph);
  for (const f of model.functions) yield* graphTensors(f.body);
}

/** Bytes of all constants of a model; a tensor that several values share counts once. */
export function modelBytes(model: Model): number {
  let sum = 0;
  for (const t of new Set(modelTensors(model))) sum += tensorBytes(t);
  return sum;
}
