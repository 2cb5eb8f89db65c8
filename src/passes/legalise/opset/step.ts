import type { Attr, Graph, Node, ValueId } from "../../../ir/graph.ts";
import type { InferredShapes } from "../../../ir/infer.ts";
import type { PatchBuilder } from "../../../ir/patch.ts";
import type { Tensor } from "../../../ir/tensor.ts";

/** A node on its way through the versions of its operator; steps edit it in place. */
export interface Draft {
  op: string;
  inputs: (ValueId | null)[];
  outputs: (ValueId | null)[];
  readonly attrs: Map<string, Attr>;
}

/** What a step may look at and add to. `shapes` is `null` where types are unknown (function bodies). */
export interface StepContext {
  readonly graph: Graph;
  readonly node: Node;
  readonly shapes: InferredShapes | null;
  readonly patch: PatchBuilder;
}

/** Rewrites a draft to the operator's next version; returns why it cannot, or `null`. */
export type Step = (draft: Draft, c: StepContext) => string | null;

/** Takes an attribute out of the draft. */
export function take(d: Draft, name: string): Attr | undefined {
  const a = d.attrs.get(name);
  d.attrs.delete(name);
  return a;
}

/** Takes an `ints` attribute out of the draft; `undefined` when absent. */
export function takeInts(d: Draft, name: string): readonly number[] | undefined {
  const a = take(d, name);
  return a?.kind === "ints" ? a.value.map(Number) : undefined;
}

/** Takes an `int` attribute out of the draft. */
export function takeInt(d: Draft, name: string): number | undefined {
  const a = take(d, name);
  return a?.kind === "int" ? Number(a.value) : undefined;
}

/** Takes a `float` attribute out of the draft. */
export function takeFloat(d: Draft, name: string): number | undefined {
  const a = take(d, name);
  return a?.kind === "float" ? a.value : undefined;
}

/** Text of a `string` attribute, which stays in the draft. */
export function text(d: Draft, name: string): string | undefined {
  const a = d.attrs.get(name);
  return a?.kind === "string" ? new TextDecoder().decode(a.value) : undefined;
}

/** Adds a constant for input `i` of the draft; earlier missing inputs become absent. */
export function setInput(d: Draft, c: StepContext, i: number, tensor: Tensor, role: string): void {
  while (d.inputs.length < i) d.inputs.push(null);
  // The node id makes the name unique in the whole model, so an inner constant never shadows an outer one.
  d.inputs[i] = c.patch.constant(tensor, `${d.op}_${c.node.id}_${role}`);
}

/** True when output `i` exists and something reads it. */
export function outputUsed(c: StepContext, i: number): boolean {
  const id = c.node.outputs[i];
  if (id === null || id === undefined) return false;
  return c.graph.users(id).length > 0 || c.graph.isOutput(id);
}
