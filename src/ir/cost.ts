import { type Graph, type Model, type NodeId, subgraphs } from "./graph.ts";
import { type InferredShapes, inferShapes } from "./infer.ts";
import { type DimBindings, type NodeCost, nodeCost } from "./ops/queries.ts";
import { tensorBytes } from "./tensor.ts";

/** What {@link graphCost} takes besides the model. */
export interface CostOptions {
  /** Lengths of the symbols in the graph's shapes. */
  readonly bindings?: DimBindings;
  /** Inferred shapes, when they are at hand. */
  readonly shapes?: InferredShapes;
  /** Graph to sum up; the model's main graph unless said. */
  readonly graph?: Graph;
}

/** Cost of one run of a graph. */
export interface GraphCost extends NodeCost {
  /** Bytes of constants, each counted once. */
  readonly weightBytes: number;
  /** Every node of the graph and of its subgraphs whose shapes are known. */
  readonly nodes: ReadonlyMap<NodeId, NodeCost>;
  /** Nodes left out because a shape is still open at these bindings. */
  readonly open: readonly NodeId[];
}

/**
 * Sums operations and bytes over the nodes. Branches of an If are all counted and loop bodies once, since neither the
 * condition nor the trip count is known.
 */
export function graphCost(model: Model, options: CostOptions = {}): GraphCost {
  const bindings = options.bindings ?? {};
  const graph = options.graph ?? model.graph;
  const shapes = options.shapes ?? inferShapes(model, { graph, bindings });
  const nodes = new Map<NodeId, NodeCost>();
  const open: NodeId[] = [];
  let [flops, bytesRead, bytesWritten, weightBytes] = [0, 0, 0, 0];
  const walk = (g: Graph): void => {
    for (const v of g.values()) if (v.init !== null) weightBytes += tensorBytes(v.init);
    for (const node of g.nodes()) {
      const cost = nodeCost(node, shapes, bindings);
      if (cost === null) open.push(node.id);
      else {
        nodes.set(node.id, cost);
        flops += cost.flops;
        bytesRead += cost.bytesRead;
        bytesWritten += cost.bytesWritten;
      }
      for (const inner of subgraphs(node)) walk(inner);
    }
  };
  walk(graph);
  return { flops, bytesRead, bytesWritten, weightBytes, nodes, open };
}
