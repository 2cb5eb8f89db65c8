import { DTYPES } from "../dtype.ts";
import type { Node, ValueId } from "../graph.ts";
import { intOr, type MatchScope } from "./constant.ts";

/** Ops that pass their input on unchanged. Casts count when they do not change the type. */
export function passesThrough(node: Node, scope: MatchScope): boolean {
  if (node.domain !== "") return false;
  if (node.op === "Identity") return true;
  if (node.op === "Dropout") return node.inputs.length < 3 && intOr(node, "training_mode", 0) === 0;
  if (node.op !== "Cast" || scope.shapes === null) return false;
  const from = node.inputs[0];
  const dtype = from === null || from === undefined ? null : scope.shapes.dtype(from);
  return dtype !== null && intOr(node, "to", 0) === DTYPES[dtype].onnx;
}

/** The value behind Identity, inference Dropout and casts to the same type. */
export function throughIdentity(scope: MatchScope, value: ValueId): ValueId {
  let at = value;
  for (;;) {
    const node = scope.graph.producer(at);
    const from = node?.inputs[0];
    if (node === undefined || from === null || from === undefined || !passesThrough(node, scope)) return at;
    if (node.outputs[0] !== at) return at;
    at = from;
  }
}
