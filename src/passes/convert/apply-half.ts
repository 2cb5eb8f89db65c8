import { DTYPES } from "../../ir/dtype.ts";
import {
  type Attr,
  attrInt,
  type Graph,
  intAttr,
  type Node,
  type NodeId,
  opKey,
  type ValueId,
} from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { tensorType } from "../../ir/types.ts";
import { castTensor } from "../../runtime/kernels/cast.ts";
import type { HalfRules } from "../../targets/target.ts";
import type { FloatFlow } from "./flow.ts";
import type { HalfType } from "./islands.ts";

/** What the conversion did. */
export interface HalfResult {
  readonly nodes: number;
  readonly casts: number;
  readonly weights: number;
}

/**
 * Rewrites every node that is not in an island to the half type: constants become half derivations, values change type
 * in place, and one Cast per value joins the two worlds. Graph inputs and outputs keep their types.
 */
export function applyHalf(
  flow: FloatFlow,
  inF32: (n: NodeId) => boolean,
  rules: HalfRules,
  type: HalfType,
): HalfResult {
  const { graph } = flow;
  const patch = new PatchBuilder(graph, `convert-float/${type}`);
  const code = DTYPES[type].onnx;
  const half = new Map<ValueId, ValueId>();
  const wide = new Map<ValueId, ValueId>();
  const constants = new Map<ValueId, ValueId>();
  let nodes = 0;
  let casts = 0;

  const isHalf = (n: Node): boolean => flow.matters(n) && !inF32(n.id);
  const madeHalf = (id: ValueId): boolean => {
    const p = graph.producer(id);
    return p !== undefined && isHalf(p) && flow.isFloat(id);
  };
  const cast = (id: ValueId, to: HalfType | "f32", memo: Map<ValueId, ValueId>): ValueId => {
    let out = memo.get(id);
    if (out === undefined) {
      const { name } = graph.value(id);
      [out] = patch.node({
        op: "Cast",
        name: `${name}/${to}`,
        inputs: [id],
        attrs: { to: intAttr(DTYPES[to].onnx) },
      });
      memo.set(id, out);
      casts++;
    }
    return out;
  };
  const constant = (id: ValueId): ValueId => {
    let out = constants.get(id);
    if (out === undefined) {
      const t = castTensor(graph.constant(id)!, type, { overflow: "saturate" });
      out = patch.constant(t, graph.value(id).name);
      constants.set(id, out);
    }
    return out;
  };

  // Outputs of half nodes that are graph outputs get a half twin; the Cast back takes over the name and type.
  const twins = new Map<ValueId, ValueId>();
  for (const id of graph.outputs)
    if (madeHalf(id) && !twins.has(id)) twins.set(id, patch.value(`${graph.value(id).name}/${type}`));
  const halfForm = (id: ValueId): ValueId => {
    if (graph.constant(id) !== null) return constant(id);
    return madeHalf(id) ? (twins.get(id) ?? id) : cast(id, type, half);
  };
  const wideForm = (id: ValueId): ValueId => (madeHalf(id) && !twins.has(id) ? cast(id, "f32", wide) : id);

  for (const node of graph.nodes()) {
    if (!isHalf(node)) {
      const inputs = node.inputs.map((i) => (i === null ? null : wideForm(i)));
      if (inputs.some((i, at) => i !== node.inputs[at])) patch.replace(node, { inputs });
      continue;
    }
    nodes++;
    const keep = rules.keepF32Inputs.find((r) => r.op === opKey(node))?.inputs ?? [];
    const inputs = node.inputs.map((i, at) => {
      if (i === null || !flow.isFloat(i)) return i;
      return keep.includes(at) ? wideForm(i) : halfForm(i);
    });
    const outputs = node.outputs.map((o) => (o === null ? null : (twins.get(o) ?? o)));
    const attrs: ReadonlyMap<string, Attr> = isCastToFloat(node)
      ? new Map(node.attrs).set("to", intAttr(code))
      : node.attrs;
    patch.replace(node, { inputs, outputs, attrs });
    for (const o of flow.floatOutputs(node)) {
      const declared = graph.value(o).type;
      if (declared?.kind === "tensor" && !twins.has(o)) patch.retype(o, tensorType(type, declared.shape));
    }
  }
  for (const [out, twin] of twins) {
    const [back] = patch.node({
      op: "Cast",
      name: `${graph.value(out).name}/f32`,
      inputs: [twin],
      attrs: { to: intAttr(DTYPES.f32.onnx) },
    });
    casts++;
    patch.redirect(out, back);
  }
  const kept = (id: ValueId): boolean =>
    graph.isOutput(id) ||
    flow.captured.has(id) ||
    graph.users(id).some((u) => !isHalf(graph.node(u)) || keepsInput(graph.node(u), id, rules));
  for (const id of constants.keys()) if (!kept(id)) patch.drop(id);
  patch.apply();
  return { nodes, casts, weights: constants.size };
}

function keepsInput(n: Node, id: ValueId, rules: HalfRules): boolean {
  const keep = rules.keepF32Inputs.find((r) => r.op === opKey(n))?.inputs ?? [];
  return keep.some((at) => n.inputs[at] === id);
}

/** A Cast whose result is float32: in the half graph it casts to the half type. */
function isCastToFloat(n: Node): boolean {
  return n.attrs.has("to") && attrInt(n, "to") === DTYPES.f32.onnx;
}

/** Removes Casts from fp32 to fp32: as Casts from half to half onnxruntime's own cast placement trips over them. */
export function removeIdleCasts(graph: Graph, shapes: InferredShapes): void {
  const patch = new PatchBuilder(graph, "convert-float/idle-casts");
  for (const node of graph.nodes()) {
    const from = node.inputs[0];
    if (!isCastToFloat(node) || from === null || from === undefined || shapes.dtype(from) !== "f32") continue;
    patch.redirect(node.outputs[0]!, from).remove(node.id);
  }
  patch.apply();
}

/** Joins a Cast from a non-float to fp32 with the Cast to half behind it, when nothing else reads the fp32 value. */
export function joinCasts(graph: Graph, type: HalfType): number {
  const patch = new PatchBuilder(graph, "convert-float/join");
  let joined = 0;
  for (const node of graph.nodes()) {
    if (!node.attrs.has("to") || attrInt(node, "to") !== DTYPES[type].onnx) continue;
    const before = graph.producer(node.inputs[0]);
    const mid = node.inputs[0];
    if (before === undefined || mid === null || mid === undefined || !isCastToFloat(before)) continue;
    if (graph.users(mid).length !== 1 || graph.isOutput(mid)) continue;
    patch.replace(node, { inputs: before.inputs }).remove(before.id);
    joined++;
  }
  patch.apply();
  return joined;
}
