import { cloneModel } from "../ir/clone.ts";
import type { Model, Node } from "../ir/graph.ts";
import { inferShapes } from "../ir/infer.ts";
import { PatchBuilder } from "../ir/patch.ts";
import type { Limits } from "./limits.ts";
import { biasSplitGeluInPrimitives } from "./lower/activation.ts";
import { isPackedAttention, multiHeadAttentionInPrimitives } from "./lower/attention.ts";
import { nhwcConvThroughConv } from "./lower/conv.ts";
import { Emit, type Lowering } from "./lower/emit.ts";
import { contribGroupNormInPrimitives } from "./lower/norm.ts";

/** How an operator that only some providers have is said in standard operators; its reference evaluator. */
const TWINS: Readonly<Record<string, Lowering>> = {
  "com.microsoft:BiasSplitGelu": biasSplitGeluInPrimitives,
  "com.microsoft:GroupNorm": contribGroupNormInPrimitives,
  "com.microsoft:MultiHeadAttention": multiHeadAttentionInPrimitives,
  "com.microsoft:NhwcConv": nhwcConvThroughConv,
};

const keyOf = (node: Node): string => (node.domain === "" ? node.op : `${node.domain}:${node.op}`);

/** Whether a provider has no kernel for a node: for its operator, or for the packed form of it. */
function isStrange(node: Node, here: Limits): boolean {
  if (here.noKernel?.includes(keyOf(node)) === true) return true;
  return here.packedAttention === false && node.domain !== "" && isPackedAttention(node);
}

/** Nodes of a model that the provider described by `here` has no kernel for and that have a twin. */
function strangers(model: Model, here: Limits): Node[] {
  const found: Node[] = [];
  for (const node of model.graph.nodes())
    if (TWINS[keyOf(node)] !== undefined && isStrange(node, here)) found.push(node);
  return found;
}

/** What reports call an operator that a provider has no kernel for. */
const labelOf = (node: Node, here: Limits): string =>
  here.noKernel?.includes(keyOf(node)) === true ? keyOf(node) : `packed ${keyOf(node)}`;

/** Operators a twin spells out, by name with how many there are; empty when the model runs as it is. */
export function twinnedOperators(model: Model, here: Limits): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const node of strangers(model, here)) {
    const label = labelOf(node, here);
    counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  return counts;
}

/**
 * The plain twin of a model: a copy in which operators without a kernel on the provider described by `here` are written
 * in standard ones of the same meaning. Every value of the model is in the twin too, by id and name. `null` when there is
 * nothing to write out; what cannot be written out stays, and the runtime will say so.
 */
export function plainTwin(model: Model, here: Limits): Model | null {
  if (strangers(model, here).length === 0) return null;
  const twin = cloneModel(model);
  const { graph } = twin;
  const shapes = inferShapes(twin);
  const opset = twin.opsets.get("") ?? 1;
  const patch = new PatchBuilder(graph, "plain-twin");
  for (const node of strangers(twin, here)) {
    const made = TWINS[keyOf(node)]!(new Emit({ graph, node, shapes, patch, opset }));
    if (typeof made === "object") continue;
    // An Identity hands the result to the old output, so that whoever observes or compares values still finds it.
    patch.replace(node, { op: "Identity", domain: "", inputs: [made], attrs: new Map() });
  }
  patch.apply();
  return twin;
}
