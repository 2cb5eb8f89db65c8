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

/** What a node does most of: the rate of a machine that its arithmetic runs at. */
export type CostKind = "view" | "product" | "attention" | "statistics" | "pointwise" | "move";

/** The kind of a node's work. */
export function costKind(node: Node, cost: NodeCost): CostKind {
  if (node.domain === "" && VIEWS.has(node.op)) return "view";
  if (opSpec(node.domain, node.op)?.weight !== undefined) return "product";
  const intensity = cost.flops / Math.max(1, cost.bytesRead + cost.bytesWritten);
  if (intensity > PRODUCT_INTENSITY) return "attention";
  if (hasTrait(node, "normalization") || hasTrait(node, "reduction")) return "statistics";
  return cost.flops > 0 ? "pointwise" : "move";
}
