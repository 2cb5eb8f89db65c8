import { substitute } from "../dim.ts";
import { byteLength, elementCount } from "../dtype.ts";
import type { Graph, Node, ValueId } from "../graph.ts";
import type { InferredShapes } from "../infer.ts";
import { opSpec } from "./index.ts";
import type { CostContext, WeightRole } from "./spec.ts";

/**
 * The constant weight of a linear-like node and the meaning of its axes; `null` when the node has none: another kind
 * of operator, or a weight that is computed (activation times activation).
 */
export function weightRole(graph: Graph, shapes: InferredShapes | null, node: Node): WeightRole | null {
  const rule = opSpec(node.domain, node.op)?.weight;
  if (rule === undefined) return null;
  const rank = (i: number): number | null => {
    const id = node.inputs[i];
    if (id === undefined || id === null) return null;
    return graph.constant(id)?.dims.length ?? shapes?.shape(id)?.length ?? null;
  };
  const role = rule(node, rank);
  return role !== null && graph.constant(node.inputs[role.input]) !== null ? role : null;
}

/** What one run of a node takes. Bytes count every operand once, whatever a cache would save. */
export interface NodeCost {
  /** Floating-point (or integer) operations; a multiply-add is 2. */
  readonly flops: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

/** Symbol values for symbolic shapes. */
export type DimBindings = Readonly<Record<string, number>>;

function numericShape(shapes: InferredShapes, id: ValueId, bindings: DimBindings): readonly number[] | null {
  const shape = shapes.shape(id);
  if (shape === null) return null;
  const out: number[] = [];
  for (const d of shape) {
    const n = substitute(d, bindings);
    if (typeof n !== "number") return null;
    out.push(n);
  }
  return out;
}

/** Bytes of a tensor at the given bindings; `null` where its type or a length of it is open. */
export function valueBytes(shapes: InferredShapes, id: ValueId, bindings: DimBindings): number | null {
  const type = shapes.type(id);
  const shape = type?.kind === "tensor" ? numericShape(shapes, id, bindings) : null;
  if (type?.kind !== "tensor" || shape === null) return null;
  return byteLength(type.dtype, elementCount(shape));
}

/**
 * Cost of one node at the given bindings, without its subgraphs. `null` when a shape it needs is still open. Unknown
 * operators cost no operations, only bytes.
 */
export function nodeCost(node: Node, shapes: InferredShapes, bindings: DimBindings = {}): NodeCost | null {
  let open = false;
  const measure = (
    ids: readonly (ValueId | null)[],
  ): { bytes: number; dims: (readonly number[] | null)[] } => {
    let bytes = 0;
    const dims = ids.map((id) => {
      if (id === null) return null;
      const type = shapes.type(id);
      const shape = type?.kind === "tensor" ? numericShape(shapes, id, bindings) : null;
      if (type?.kind === "tensor" && shape !== null) {
        bytes += byteLength(
          type.dtype,
          shape.reduce((a, b) => a * b, 1),
        );
      } else if (type === null || type.kind === "tensor") open = true;
      return shape;
    });
    return { bytes, dims };
  };
  const read = measure(node.inputs);
  const written = measure(node.outputs);
  if (open) return null;
  const context: CostContext = {
    node,
    inputs: read.dims,
    outputs: written.dims,
    int(name, fallback) {
      const a = node.attrs.get(name);
      return a?.kind === "int" ? Number(a.value) : fallback;
    },
    ints_(name) {
      const a = node.attrs.get(name);
      return a?.kind === "ints" ? a.value.map(Number) : undefined;
    },
  };
  return { flops: flopsOf(node, context), bytesRead: read.bytes, bytesWritten: written.bytes };
}

/** The operator's rule, else one operation per output element (elementwise) or input element (reductions). */
function flopsOf(node: Node, c: CostContext): number {
  const spec = opSpec(node.domain, node.op);
  if (spec === undefined) return 0;
  if (spec.flops !== undefined) return spec.flops(c);
  const size = (dims: readonly number[] | null | undefined): number => dims?.reduce((a, b) => a * b, 1) ?? 0;
  if (spec.traits?.includes("elementwise")) return size(c.outputs[0]);
  return spec.traits?.includes("reduction") ? size(c.inputs[0]) : 0;
}
