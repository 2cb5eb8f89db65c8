import { DTYPES, dtypeOf, elementCount, isFloat } from "../../ir/dtype.ts";
import { attrInt, type Graph, type Node, type NodeId, subgraphs, type ValueId } from "../../ir/graph.ts";
import { opSpec } from "../../ir/ops/index.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { constantNode } from "../../ir/pattern/constant.ts";
import { tensorBytes } from "../../ir/tensor.ts";
import { definePass, type PassContext } from "../pass.ts";
import { derive } from "./fold/derive.ts";
import { denseTensor, evaluate } from "./fold/evaluate.ts";
import { integersToTensor } from "./fold/integers.ts";

export interface FoldOptions {
  /** Constants above this size are only folded where a lazy derivation can make them. */
  maxBytes: number;
}

/** Constants with fewer elements are not worth keeping narrow. */
const STORED_NARROW = 256;

/** A Cast that widens a constant of many narrow elements: the narrow form is how the weight is stored. */
function widensWeight(graph: Graph, node: Node): boolean {
  const stored = node.op === "Cast" ? graph.constant(node.inputs[0]) : null;
  const to = stored === null ? null : dtypeOf(attrInt(node, "to") ?? 0);
  if (stored === null || to === null || stored.dtype === "bool") return false;
  const narrower = DTYPES[stored.dtype].bits < DTYPES[to].bits && DTYPES[stored.dtype].bits <= 16;
  return narrower && isFloat(to) && elementCount(stored.dims) >= STORED_NARROW;
}

/** Nodes that must keep their constant input as it is: folding them would undo a compression. */
function keepsConstant(graph: Graph, node: Node): boolean {
  return node.op === "DequantizeLinear" || node.domain !== "" || widensWeight(graph, node);
}

/** A graph output cannot be an initializer; an Identity of one is its shortest spelling, and folding it gives it back. */
function bridgesConstant(graph: Graph, node: Node): boolean {
  const [out] = node.outputs;
  return node.op === "Identity" && node.domain === "" && out != null && graph.isOutput(out);
}

function foldable(graph: Graph, node: Node): boolean {
  const spec = opSpec(node.domain, node.op);
  if (spec === undefined || keepsConstant(graph, node) || bridgesConstant(graph, node)) return false;
  return !spec.traits?.includes("nondeterministic") && subgraphs(node).length === 0;
}

/** Constant nodes become initializers, and integers that shape inference knows become constants. */
function foldKnown(graph: Graph, ctx: PassContext): { constants: number; shapes: number } {
  const patch = new PatchBuilder(graph, "fold-constants/known");
  const inferred = ctx.shapes();
  let constants = 0;
  let shapes = 0;
  for (const node of graph.nodes()) {
    if (node.op === "Constant" && node.domain === "") {
      const tensor = constantNode(node);
      if (tensor === null) continue;
      const out = node.outputs[0]!;
      patch.redirect(out, patch.constant(tensor, graph.value(out).name)).remove(node.id);
      constants++;
      continue;
    }
    const out = node.outputs[0];
    if (node.outputs.length !== 1 || out === null || out === undefined || !foldable(graph, node)) continue;
    const data = inferred.data(out);
    const dtype = inferred.dtype(out);
    const dims = inferred.staticShape(out);
    if (data === null || dtype === null || dims === null) continue;
    const tensor = integersToTensor(data, dtype, dims);
    if (tensor === null) continue;
    patch.redirect(out, patch.constant(tensor, graph.value(out).name)).remove(node.id);
    shapes++;
  }
  patch.apply();
  return { constants, shapes };
}

/** Weight transforms (Transpose, Reshape, Cast ... of a constant) become lazy derivations; no bytes are touched. */
function foldDerived(graph: Graph, ctx: PassContext, options: FoldOptions): number {
  const patch = new PatchBuilder(graph, "fold-constants/derived");
  const shapes = ctx.shapes();
  let count = 0;
  for (const node of graph.nodes()) {
    const weight = graph.constant(node.inputs[0]);
    if (weight === null || tensorBytes(weight) <= options.maxBytes || !foldable(graph, node)) continue;
    const out = node.outputs[0]!;
    const tensor = derive(node, weight, shapes.staticShape(out));
    if (tensor === null) continue;
    patch.redirect(out, patch.constant(tensor, graph.value(out).name)).remove(node.id);
    count++;
  }
  patch.apply();
  return count;
}

/** Nodes whose every input is constant, with the constants they need; large ones are left to derivations. */
function constantNodes(
  graph: Graph,
  ctx: PassContext,
  options: FoldOptions,
  refused: Map<NodeId, string>,
): Node[] {
  const shapes = ctx.shapes();
  const known = new Set<ValueId>();
  const out: Node[] = [];
  for (const node of graph.nodes()) {
    if (!foldable(graph, node) || node.outputs.length === 0 || refused.has(node.id)) continue;
    let bytes = 0;
    const constant = node.inputs.every((i) => {
      if (i === null || known.has(i)) return true;
      const t = graph.constant(i);
      if (t === null || t.source.kind === "strings") return false;
      bytes += tensorBytes(t);
      return true;
    });
    if (!constant || bytes > options.maxBytes) continue;
    const grows = node.outputs.some((o) => {
      const dims = o === null ? null : shapes.staticShape(o);
      return dims !== null && elementCount(dims) * 4 > Math.max(options.maxBytes / 16, 2 * bytes);
    });
    if (grows) {
      refused.set(node.id, "the result would be much larger than what it is made of");
      continue;
    }
    for (const o of node.outputs) if (o !== null) known.add(o);
    out.push(node);
  }
  return out;
}

async function foldEvaluated(
  graph: Graph,
  ctx: PassContext,
  options: FoldOptions,
  refused: Map<NodeId, string>,
): Promise<number> {
  const nodes = constantNodes(graph, ctx, options, refused);
  if (nodes.length === 0) return 0;
  const { values, done } = await evaluate(graph, nodes, ctx, refused);
  const patch = new PatchBuilder(graph, "fold-constants/evaluated");
  for (const [id, dense] of values)
    patch.redirect(id, patch.constant(denseTensor(dense), graph.value(id).name));
  patch.remove(...done.map((n) => n.id));
  patch.apply();
  return done.length;
}

export const foldConstants = definePass<FoldOptions>({
  name: "fold-constants",
  family: "clean",
  summary: "Computes everything that depends on constants alone, to a fixed point",
  doc: `Three ways, cheapest first. Integers that shape inference knows (the Shape-Gather-Concat chains exporters leave
around every Reshape) become constants without running anything. Transposes, reshapes and casts of large weights
become lazy derivations: no bytes move until the writer streams them. Everything else that is constant is cut out into
one small model and run by onnxruntime without optimisation, so the result is what the runtime would have computed.
DequantizeLinear of a weight and the Cast that widens a stored weight are never folded, and results much larger than their inputs are left alone.`,
  effect: "exact",
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      maxBytes: {
        type: "integer",
        minimum: 0,
        default: 1048576,
        description: "Constants above this many bytes are not evaluated; only lazy derivations touch them.",
      },
    },
  },
  version: 1,
  async run(graph, options, ctx) {
    const total = { "constant-node": 0, "known-shape": 0, "weight-transform": 0, evaluated: 0 };
    const refused = new Map<NodeId, string>();
    for (;;) {
      const known = foldKnown(graph, ctx);
      const derived = foldDerived(graph, ctx, options);
      const evaluated = await foldEvaluated(graph, ctx, options, refused);
      total["constant-node"] += known.constants;
      total["known-shape"] += known.shapes;
      total["weight-transform"] += derived;
      total.evaluated += evaluated;
      if (known.constants + known.shapes + derived + evaluated === 0) break;
    }
    for (const [rule, count] of Object.entries(total)) {
      if (count > 0) ctx.decide({ node: "", kind: "applied", rule, count });
    }
    const reasons = new Map<string, string[]>();
    for (const [id, why] of refused) {
      if (graph.hasNode(id)) reasons.set(why, [...(reasons.get(why) ?? []), graph.node(id).name]);
    }
    for (const [why, nodes] of reasons) {
      ctx.decide({ node: nodes[0]!, kind: "skipped", rule: "evaluate", why, count: nodes.length });
    }
  },
});
