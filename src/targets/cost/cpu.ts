import { type GraphCost, graphCost } from "../../ir/cost.ts";
import { DTYPES } from "../../ir/dtype.ts";
import type { Graph, Model, Node, NodeId } from "../../ir/graph.ts";
import { type InferredShapes, inferShapes } from "../../ir/infer.ts";
import { hasTrait, opSpec } from "../../ir/ops/index.ts";
import type { DimBindings, NodeCost } from "../../ir/ops/queries.ts";

/** Rates of one core. A node takes the overhead plus the longer of its arithmetic and its memory traffic. */
export interface CpuRates {
  /** Seconds to dispatch a node. */
  readonly overhead: number;
  /** Operations a second of products: convolutions and linear layers in fp32. */
  readonly product: number;
  /** The same with 8-bit operands. */
  readonly product8: number;
  /** Seconds per element that an activation costs on its way into or out of 8 bits, layout changes included. */
  readonly convert8: number;
  /** Products of two activations with a softmax between: attention as one operator. */
  readonly attention: number;
  /** Normalisations and reductions. */
  readonly statistics: number;
  /** Everything else that computes. */
  readonly pointwise: number;
  /** Bytes a second. */
  readonly bandwidth: number;
}

/**
 * Fitted to profiles of the two bundled networks on one core of an AVX2 server processor (bench case `cpu-cost`, which
 * reports how well the estimates rank nodes). Ratios carry over to other processors better than seconds do. The 8-bit
 * rates are fitted to convolutions of 32 to 320 channels on 4×4 to 16×16 and to products of 128 to 1280 columns with
 * their conversions around them (AVX2 without VNNI, weights that cannot saturate).
 */
export const CPU_RATES: CpuRates = {
  overhead: 3.2e-6,
  product: 85e9,
  product8: 165e9,
  convert8: 0.5e-9,
  attention: 30e9,
  statistics: 11e9,
  pointwise: 4e9,
  bandwidth: 28e9,
};

/** Operations per byte above which a node without a weight is a product of activations. */
const PRODUCT_INTENSITY = 2.5;

/** Operators that only rename what is in memory: the runtime copies nothing. */
const VIEWS: ReadonlySet<string> = new Set([
  "Reshape",
  "Flatten",
  "Squeeze",
  "Unsqueeze",
  "Identity",
  "Shape",
]);

/** What bounds a node. */
export type CostKind = "view" | "product" | "product8" | "attention" | "statistics" | "pointwise" | "move";

/** The kind of a node's work. */
export function costKind(node: Node, cost: NodeCost, shapes: InferredShapes): CostKind {
  if (node.domain === "" && VIEWS.has(node.op)) return "view";
  const spec = opSpec(node.domain, node.op);
  const intensity = cost.flops / Math.max(1, cost.bytesRead + cost.bytesWritten);
  if (spec?.weight !== undefined) {
    const input = node.inputs[0];
    const dtype = input === null || input === undefined ? null : shapes.dtype(input);
    return dtype !== null && DTYPES[dtype].bits <= 8 ? "product8" : "product";
  }
  if (intensity > PRODUCT_INTENSITY) return "attention";
  if (hasTrait(node, "normalization") || hasTrait(node, "reduction")) return "statistics";
  return cost.flops > 0 ? "pointwise" : "move";
}

/** Estimated seconds of one node on one core. */
function cpuNodeSeconds(
  node: Node,
  cost: NodeCost,
  shapes: InferredShapes,
  rates: CpuRates = CPU_RATES,
): number {
  const kind = costKind(node, cost, shapes);
  if (kind === "view") return rates.overhead;
  const memory = (cost.bytesRead + cost.bytesWritten) / rates.bandwidth;
  const arithmetic = kind === "move" ? 0 : cost.flops / rates[kind];
  return rates.overhead + Math.max(memory, arithmetic);
}

/** Estimated cost of one run of a graph on one core. */
export interface CpuCost {
  readonly seconds: number;
  readonly nodes: ReadonlyMap<NodeId, number>;
  /** Nodes whose shapes are open at these bindings; they count nothing. */
  readonly open: readonly NodeId[];
  readonly graph: GraphCost;
}

/** Estimates a graph at the given lengths of its symbols. */
export function cpuCost(
  model: Model,
  options: { readonly bindings?: DimBindings; readonly graph?: Graph; readonly rates?: CpuRates } = {},
): CpuCost {
  const graph = options.graph ?? model.graph;
  const bindings = options.bindings ?? {};
  const shapes = inferShapes(model, { graph, bindings });
  const cost = graphCost(model, { bindings, graph, shapes });
  const nodes = new Map<NodeId, number>();
  let seconds = 0;
  for (const node of graph.nodes()) {
    const c = cost.nodes.get(node.id);
    if (c === undefined) continue;
    const s = cpuNodeSeconds(node, c, shapes, options.rates);
    nodes.set(node.id, s);
    seconds += s;
  }
  return { seconds, nodes, open: cost.open, graph: cost };
}
