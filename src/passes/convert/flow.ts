import { captures, type Graph, type Node, type NodeId, subgraphs, type ValueId } from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";

/** The float32 values of a graph and who makes and reads them: what a change of precision moves through. */
export class FloatFlow {
  readonly graph: Graph;
  readonly shapes: InferredShapes;
  /** Nodes whose every input is constant, directly or through other such nodes: computed once at load. */
  readonly constantNodes: ReadonlySet<NodeId>;
  /** Values that subgraphs read from this graph. */
  readonly captured: ReadonlySet<ValueId>;
  readonly #constants = new Set<ValueId>();

  constructor(graph: Graph, shapes: InferredShapes) {
    this.graph = graph;
    this.shapes = shapes;
    const constantNodes = new Set<NodeId>();
    const captured = new Set<ValueId>();
    for (const v of graph.values()) if (graph.constant(v.id) !== null) this.#constants.add(v.id);
    for (const node of graph.nodes()) {
      for (const g of subgraphs(node)) for (const id of captures(g)) captured.add(id);
      if (subgraphs(node).length > 0 || node.inputs.length === 0) continue;
      if (!node.inputs.every((i) => i === null || this.#constants.has(i))) continue;
      constantNodes.add(node.id);
      for (const o of node.outputs) if (o !== null) this.#constants.add(o);
    }
    this.constantNodes = constantNodes;
    this.captured = captured;
  }

  /** True for float32 tensors. */
  isFloat(id: ValueId): boolean {
    return this.shapes.dtype(id) === "f32";
  }
  /** True for initializers and what is computed from them alone. */
  isConstant(id: ValueId): boolean {
    return this.#constants.has(id);
  }
  /** Float32 inputs that are computed during a run. */
  floatInputs(node: Node): ValueId[] {
    return node.inputs.filter((i): i is ValueId => i !== null && this.isFloat(i) && !this.isConstant(i));
  }
  floatOutputs(node: Node): ValueId[] {
    return node.outputs.filter((o): o is ValueId => o !== null && this.isFloat(o));
  }
  /** True when the node computes with float32 values during a run. */
  matters(node: Node): boolean {
    if (this.constantNodes.has(node.id)) return false;
    return this.floatOutputs(node).length > 0 || node.inputs.some((i) => i !== null && this.isFloat(i));
  }
}
