import { type GraphCost, graphCost } from "../../ir/cost.ts";
import type { DType } from "../../ir/dtype.ts";
import type { Graph, Model, Node, NodeId, ValueId } from "../../ir/graph.ts";
import { type InferredShapes, inferShapes } from "../../ir/infer.ts";
import { type DimBindings, type NodeCost, valueBytes } from "../../ir/ops/queries.ts";
import type { Target } from "../target.ts";
import { type CostKind, costKind } from "./kind.ts";
import { type Loaded, loaded } from "./load.ts";
import { counted, type NodeEstimate, type NodeWork, nodeEstimate } from "./node.ts";

/** Estimate of one run of a graph on the machine of a target. */
export interface Roofline {
  readonly seconds: number;
  /** Every node that runs: what it takes, and how long. */
  readonly nodes: ReadonlyMap<NodeId, NodeWork & NodeEstimate>;
  /** Bytes read and written, and operations of products by the type of their operands. */
  readonly bytes: number;
  readonly flops: ReadonlyMap<DType, number>;
  /** Types whose arithmetic has no rate on the machine and is not counted. */
  readonly uncounted: readonly DType[];
  /** Operations and bytes as the graph has them. */
  readonly graph: GraphCost;
  /** Nodes whose shapes are open at these bindings; they count nothing. */
  readonly open: readonly NodeId[];
}

/** Products that round their float input to 8 bits while they run, and multiply integers. */
const DYNAMIC: ReadonlySet<string> = new Set(["DynamicQuantizeMatMul"]);

/** Kinds whose operands have a type that a machine has a rate for. */
const PRODUCTS: ReadonlySet<CostKind> = new Set(["product", "attention", "fusedAttention"]);

/** Passes over an activation that is quantized while the layer runs: one for its range, one to round it. */
export const LOOKS = 2;

/** 8-bit and 16-bit integers count alike whatever their sign. */
const signed = (dtype: DType | null): DType | null =>
  dtype === "u8" ? "i8" : dtype === "u16" ? "i16" : dtype;

/** Type of the operands of a product; behind a DequantizeLinear, that of the integers, which is what compilers multiply. */
function operandType(graph: Graph, shapes: InferredShapes, node: Node): DType | null {
  const input = node.inputs[DYNAMIC.has(node.op) ? 1 : 0];
  if (input === null || input === undefined) return null;
  const made = graph.producer(input);
  const from = made?.op === "DequantizeLinear" ? made.inputs[0] : input;
  return from === null || from === undefined ? null : signed(shapes.dtype(from));
}

/** Whether it only works out lengths: a few integers that follow from the shapes, which no accelerator is asked for. */
function isBookkeeping(node: Node, shapes: InferredShapes): boolean {
  return node.outputs.every(
    (o) => o !== null && shapes.data(o)?.every((d) => typeof d === "number") === true,
  );
}

/** Rows of a layer normalisation, each as long as its factor; none for other nodes. */
function rowsOf(node: Node, size: (id: ValueId) => number | null): number {
  const [input, factor] = node.inputs;
  if (node.op !== "LayerNormalization" || input == null || factor == null) return 0;
  return (size(input) ?? 0) / (size(factor) ?? Number.POSITIVE_INFINITY);
}

/** Bytes a node reads and writes once the model is loaded, and those among them that are constants. */
function traffic(
  node: Node,
  cost: NodeCost,
  at: Loaded,
  size: (id: ValueId) => number | null,
): Pick<NodeWork, "bytes" | "weights"> {
  let [bytes, weights] = [cost.bytesRead + cost.bytesWritten, 0];
  for (const id of [...node.inputs, ...node.outputs]) {
    if (id === null) continue;
    const narrow = at.bytes.get(id);
    const whole = size(id) ?? 0;
    if (narrow !== undefined) bytes += narrow - whole;
    if (at.constants.has(id)) weights += narrow ?? whole;
  }
  return { bytes, weights };
}

/**
 * Roofline estimate of a graph at the given lengths of its symbols, node by node: see {@link nodeEstimate}. Nodes of
 * constants alone count nothing; neither do QuantizeLinear and DequantizeLinear where the target's compiler takes them for
 * types. `null` for targets without a machine.
 */
export function rooflineCost(
  model: Model,
  target: Pick<Target, "machine" | "integer">,
  options: { readonly bindings?: DimBindings } = {},
): Roofline | null {
  const { machine } = target;
  if (machine === undefined) return null;
  const { graph } = model;
  const bindings = options.bindings ?? {};
  const shapes = inferShapes(model, { graph, bindings });
  const cost = graphCost(model, { bindings, graph, shapes });
  const size = (id: ValueId): number | null => valueBytes(shapes, id, bindings);
  const at = loaded(graph, { typed: target.integer?.spelling === "qdq", size });
  const nodes = new Map<NodeId, NodeWork & NodeEstimate>();
  const flops = new Map<DType, number>();
  const uncounted = new Set<DType>();
  let [seconds, bytes] = [0, 0];
  for (const node of graph.nodes()) {
    const c = cost.nodes.get(node.id);
    if (c === undefined || at.absent.has(node.id)) continue;
    const kind = isBookkeeping(node, shapes) ? "view" : costKind(node, c);
    const dtype = PRODUCTS.has(kind) ? operandType(graph, shapes, node) : null;
    const input = node.inputs[0];
    const dynamic = DYNAMIC.has(node.op) && input !== null && input !== undefined;
    const work: NodeWork = {
      kind,
      flops: c.flops,
      ...traffic(node, c, at, size),
      dtype,
      ...(kind === "statistics" && { rows: rowsOf(node, size) }),
      ...(dynamic && { converted: (LOOKS * (size(input) ?? 0)) / 4 }),
    };
    if (dtype !== null) flops.set(dtype, (flops.get(dtype) ?? 0) + c.flops);
    if (dtype !== null && !counted(machine, work)) uncounted.add(dtype);
    const e = { ...work, ...nodeEstimate(machine, work) };
    nodes.set(node.id, e);
    seconds += e.seconds;
    bytes += e.bytes;
  }
  return { seconds, nodes, bytes, flops, uncounted: [...uncounted].sort(), graph: cost, open: cost.open };
}
