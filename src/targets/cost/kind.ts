import type { Node } from "../../ir/graph.ts";
import { hasTrait, opSpec } from "../../ir/ops/index.ts";
import type { NodeCost } from "../../ir/ops/queries.ts";

/** Operations per byte above which a node without a weight is a product of activations. */
const PRODUCT_INTENSITY = 2.5;

/** Operators that only rename what is in memory: the runtime copies nothing. */
export const VIEWS: ReadonlySet<string> = new Set([
  "Reshape",
  "Flatten",
  "Squeeze",
  "Unsqueeze",
  "Identity",
  "Shape",
]);

/** Attention as one operator: products of activations with a softmax between. */
const FUSED: ReadonlySet<string> = new Set(["Attention", "MultiHeadAttention"]);

/** Elementwise functions that processors compute as polynomials. */
const FUNCTIONS: ReadonlySet<string> = new Set(["Gelu", "Erf", "Exp", "Log", "Sin", "Cos", "Tanh", "Pow"]);

/** What a node does most of: the rate of a machine that its arithmetic runs at. */
export type CostKind =
  | "view"
  | "product"
  | "attention"
  | "fusedAttention"
  | "statistics"
  | "pointwise"
  | "functions"
  | "move";

/** The kind of a node's work. */
export function costKind(node: Node, cost: NodeCost): CostKind {
  if (node.domain === "" && VIEWS.has(node.op)) return "view";
  if (opSpec(node.domain, node.op)?.weight !== undefined) return "product";
  if (FUSED.has(node.op)) return "fusedAttention";
  if (FUNCTIONS.has(node.op)) return "functions";
  const intensity = cost.flops / Math.max(1, cost.bytesRead + cost.bytesWritten);
  if (intensity > PRODUCT_INTENSITY) return "attention";
  if (hasTrait(node, "normalization") || hasTrait(node, "reduction")) return "statistics";
  return cost.flops > 0 ? "pointwise" : "move";
}
