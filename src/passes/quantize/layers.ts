import { isFloat } from "../../ir/dtype.ts";
import type { Graph, Node, ValueId } from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import { opSpec } from "../../ir/ops/index.ts";
import type { WeightRole } from "../../ir/ops/spec.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { derive } from "../clean/fold/derive.ts";

/** A node with a constant float weight. */
export interface Layer {
  readonly node: Node;
  readonly role: WeightRole;
  /** The value the node reads; the end of the chain of constant nodes the weight goes through. */
  readonly value: ValueId;
  readonly tensor: Tensor;
}

/** The constant behind a value, seen through nodes that only rearrange or cast it. */
function constantThrough(graph: Graph, shapes: InferredShapes, id: ValueId): Tensor | null {
  const direct = graph.constant(id);
  if (direct !== null) return direct;
  const node = graph.producer(id);
  const from = node?.inputs[0];
  if (node === undefined || node.domain !== "" || from === null || from === undefined) return null;
  const inner = constantThrough(graph, shapes, from);
  return inner === null ? null : derive(node, inner, shapes.staticShape(id));
}

/** Every node whose operator has a weight and whose weight is a constant of a float type, in graph order. */
export function weightLayers(graph: Graph, shapes: InferredShapes): Layer[] {
  const out: Layer[] = [];
  for (const node of graph.nodes()) {
    const spec = opSpec(node.domain, node.op);
    const rank = (i: number): number | null => {
      const id = node.inputs[i];
      return id === null || id === undefined ? null : (shapes.shape(id)?.length ?? null);
    };
    const role = spec?.weight?.(node, rank) ?? null;
    const value = role === null ? null : (node.inputs[role.input] ?? null);
    if (role === null || value === null) continue;
    const tensor = constantThrough(graph, shapes, value);
    if (tensor !== null && isFloat(tensor.dtype)) out.push({ node, role, value, tensor });
  }
  return out;
}
