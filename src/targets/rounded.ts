import { cloneModel } from "../ir/clone.ts";
import type { Graph, Model, Node, NodeId, ValueId } from "../ir/graph.ts";
import { type InferredShapes, inferShapes } from "../ir/infer.ts";
import { hasTrait } from "../ir/ops/index.ts";
import { PatchBuilder } from "../ir/patch.ts";

/**
 * The operator a value passes through to be rounded: the CPU provider has it for fp16 itself, in every opset from 12 on,
 * and no optimisation knows that the maximum of one tensor is that tensor. It takes two of them: a single fp16 node
 * between fp32 ones is run in fp32.
 */
const PASS_THROUGH = "Max";
const SINCE = 12;

/** The outputs of a node that are computed in fp16; what only moves data moves what is rounded already. */
function halves(graph: Graph, shapes: InferredShapes, node: Node): ValueId[] {
  if (hasTrait(node, "moves-data")) return [];
  return node.outputs.filter(
    (o): o is ValueId =>
      o !== null && shapes.dtype(o) === "f16" && (graph.users(o).length > 0 || graph.isOutput(o)),
  );
}

const passThrough = (id: NodeId, from: ValueId, to: ValueId, name: string): Node => ({
  id,
  name: `${name}/round_${id}`,
  domain: "",
  op: PASS_THROUGH,
  overload: "",
  inputs: [from],
  outputs: [to],
  attrs: new Map(),
});

/**
 * A copy of a model in which every half-precision value really is one. The CPU provider of onnxruntime computes fp16 nodes
 * in fp32 and drops the conversions between neighbours, those the model asks for too, so what another device rounds keeps
 * 24 bits here, and what overflows there stays finite. In the copy each such value passes through an operator that reads
 * and writes fp16, and reaches its readers under its own id and name. `null` when nothing in the main graph is computed
 * in fp16, or the opset is older than the operator. Bodies of loops and branches are left alone.
 */
export function roundedTwin(model: Model): Model | null {
  if ((model.opsets.get("") ?? 1) < SINCE) return null;
  // Of the original: ids of the copy are the same.
  const shapes = inferShapes(model);
  if (![...model.graph.nodes()].some((n) => halves(model.graph, shapes, n).length > 0)) return null;
  const twin = cloneModel(model);
  const { graph } = twin;
  const patch = new PatchBuilder(graph, "rounded-twin");
  for (const node of [...graph.nodes()]) {
    const half = new Set(halves(graph, shapes, node));
    if (half.size === 0) continue;
    const outputs = node.outputs.map((o) => {
      if (o === null || !half.has(o)) return o;
      const { name } = graph.value(o);
      const [wide, passed] = [patch.value(`${name}/wide`), patch.value(`${name}/passed`)];
      for (const [from, to] of [
        [wide, passed],
        [passed, o],
      ] as const)
        patch.insert(passThrough(graph.ids.node(), from, to, name));
      return wide;
    });
    patch.replace(node, { outputs });
  }
  patch.apply();
  return twin;
}
