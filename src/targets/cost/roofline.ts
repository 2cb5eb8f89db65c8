import { graphCost } from "../../ir/cost.ts";
import { DTYPES, type DType, isFloat } from "../../ir/dtype.ts";
import type { Graph, Model, Node, NodeId, ValueId } from "../../ir/graph.ts";
import { subgraphs } from "../../ir/graph.ts";
import { type InferredShapes, inferShapes } from "../../ir/infer.ts";
import { hasTrait, opSpec } from "../../ir/ops/index.ts";
import type { DimBindings, NodeCost } from "../../ir/ops/queries.ts";
import type { Machine } from "../machine.ts";
import type { Target } from "../target.ts";
import { type CostKind, costKind } from "./cpu.ts";

/** What a node waits for most. */
export type Bound = "arithmetic" | "memory" | "overhead";

/** Estimate of one node. */
export interface NodeEstimate {
  readonly seconds: number;
  readonly bound: Bound;
}

/** Estimate of one run of a graph on the machine of a target. */
export interface Roofline {
  readonly seconds: number;
  readonly nodes: ReadonlyMap<NodeId, NodeEstimate>;
  /** Bytes read and written, and operations of products by the type of their operands. */
  readonly bytes: number;
  readonly flops: ReadonlyMap<DType, number>;
  /** Types whose arithmetic has no rate on the machine and is not counted. */
  readonly uncounted: readonly DType[];
  /** Nodes whose shapes are open at these bindings; they count nothing. */
  readonly open: readonly NodeId[];
}

const isLinear = (node: Node): boolean => node.op === "DequantizeLinear" || node.op === "QuantizeLinear";

/** Nodes that depend on constants alone, which every runtime computes once when it loads a model. */
function foldedAtLoad(graph: Graph): ReadonlySet<NodeId> {
  const nodes = new Set<NodeId>();
  const known = new Set<ValueId>();
  for (const node of graph.nodes()) {
    const constant = node.inputs.every((i) => i === null || known.has(i) || graph.constant(i) !== null);
    const kept = isLinear(node) || hasTrait(node, "nondeterministic") || subgraphs(node).length > 0;
    if (!constant || kept || opSpec(node.domain, node.op) === undefined) continue;
    nodes.add(node.id);
    for (const o of node.outputs) if (o !== null) known.add(o);
  }
  return nodes;
}

/** Type of the operands of a product; behind a DequantizeLinear, that of the integers, which is what compilers multiply. */
function operandType(graph: Graph, shapes: InferredShapes, node: Node): DType | null {
  const input = node.inputs[0];
  if (input === null || input === undefined) return null;
  const made = graph.producer(input);
  const from = made?.op === "DequantizeLinear" ? made.inputs[0] : input;
  const dtype = from === null || from === undefined ? null : shapes.dtype(from);
  return dtype === "u8" ? "i8" : dtype === "u16" ? "i16" : dtype;
}

/** Operations a second for operands of a type; `null` where the machine has no figure for it or a wider one. */
function productRate({ flops }: Machine, dtype: DType | null): number | null {
  if (dtype === null) return null;
  const own = flops[dtype];
  if (own !== undefined) return own;
  const wider = (Object.keys(flops) as DType[])
    .filter((d) => isFloat(d) && DTYPES[d].bits > DTYPES[dtype].bits)
    .sort((a, b) => DTYPES[a].bits - DTYPES[b].bits);
  return wider.length === 0 ? null : flops[wider[0]!]!;
}

function rateOf(machine: Machine, kind: CostKind, dtype: DType | null): number | null {
  if (kind === "product" || kind === "product8") return productRate(machine, dtype);
  if (kind === "view" || kind === "move") return Number.POSITIVE_INFINITY;
  return machine.other?.[kind] ?? productRate(machine, "f32");
}

function estimate(machine: Machine, kind: CostKind, cost: NodeCost, rate: number | null): NodeEstimate {
  const { node, view } = machine.overhead;
  if (kind === "view") return { seconds: view, bound: "overhead" };
  const memory = (cost.bytesRead + cost.bytesWritten) / machine.bandwidth;
  const arithmetic = rate === null ? 0 : cost.flops / rate;
  const work = Math.max(memory, arithmetic);
  const bound = node > work ? "overhead" : memory > arithmetic ? "memory" : "arithmetic";
  return { seconds: node + work, bound };
}

/**
 * Roofline estimate of a graph at the given lengths of its symbols: a node takes the overhead plus the longer of its
 * arithmetic and its memory traffic (Williams et al., 2009). Nodes of constants alone count nothing; neither do
 * QuantizeLinear and DequantizeLinear where the target's compiler takes them for types. `null` for targets without a
 * {@link Machine}.
 */
export function rooflineCost(
  model: Model,
  target: Target,
  options: { readonly bindings?: DimBindings } = {},
): Roofline | null {
  const { machine } = target;
  if (machine === undefined) return null;
  const { graph } = model;
  const bindings = options.bindings ?? {};
  const shapes = inferShapes(model, { graph, bindings });
  const cost = graphCost(model, { bindings, graph, shapes });
  const folded = foldedAtLoad(graph);
  const typed = target.integer?.spelling === "qdq";
  const nodes = new Map<NodeId, NodeEstimate>();
  const flops = new Map<DType, number>();
  const uncounted = new Set<DType>();
  let [seconds, bytes] = [0, 0];
  for (const node of graph.nodes()) {
    const c = cost.nodes.get(node.id);
    if (c === undefined || folded.has(node.id) || (typed && isLinear(node))) continue;
    const kind = costKind(node, c, shapes);
    const product = kind === "product" || kind === "product8";
    const dtype = product ? operandType(graph, shapes, node) : null;
    const rate = rateOf(machine, kind, dtype);
    if (dtype !== null) flops.set(dtype, (flops.get(dtype) ?? 0) + c.flops);
    if (dtype !== null && rate === null) uncounted.add(dtype);
    const e = estimate(machine, kind, c, rate);
    nodes.set(node.id, e);
    seconds += e.seconds;
    bytes += c.bytesRead + c.bytesWritten;
  }
  return { seconds, nodes, bytes, flops, uncounted: [...uncounted].sort(), open: cost.open };
}
