import { cloneModel } from "../ir/clone.ts";
import type { DType } from "../ir/dtype.ts";
import { type Graph, type Model, type Node, opKey, type ValueId } from "../ir/graph.ts";
import { inferShapes } from "../ir/infer.ts";
import { PatchBuilder } from "../ir/patch.ts";
import { castTensor } from "../runtime/kernels/cast.ts";
import type { Limits } from "./limits.ts";
import { biasSplitGeluInPrimitives } from "./lower/activation.ts";
import { isPackedAttention, packedAttentionAsComputed } from "./lower/attention.ts";
import { nhwcConvThroughConv } from "./lower/conv.ts";
import { Emit, type Lowering } from "./lower/emit.ts";
import { contribGroupNormInPrimitives } from "./lower/norm.ts";

/** How an operator that only some providers have is said in standard operators; its reference evaluator. */
const TWINS: Readonly<Record<string, Lowering>> = {
  "com.microsoft:BiasSplitGelu": biasSplitGeluInPrimitives,
  "com.microsoft:GroupNorm": contribGroupNormInPrimitives,
  "com.microsoft:MultiHeadAttention": packedAttentionAsComputed,
  "com.microsoft:NhwcConv": nhwcConvThroughConv,
};

/** Types of stored weights, and wider ones that hold each of their numbers exactly. */
const WIDER: Partial<Record<DType, DType>> = { f4e2m1: "f8e4m3fn" };

/** The wider type of a weight that is dequantized from one nothing computes with here; `null` for other nodes. */
function widerFor(graph: Graph, node: Node, here: Limits): DType | null {
  if (node.op !== "DequantizeLinear") return null;
  const type = graph.constant(node.inputs[0] ?? null)?.dtype;
  return type !== undefined && here.noKernelTypes?.includes(type) === true ? (WIDER[type] ?? null) : null;
}

/** Whether a provider has no kernel for a node: for its operator, or for the packed form of it. */
function isStrange(node: Node, here: Limits): boolean {
  if (here.noKernel?.includes(opKey(node)) === true) return true;
  return here.packedAttention === false && node.domain !== "" && isPackedAttention(node);
}

/** Nodes of a model that the provider described by `here` has no kernel for and that have a twin. */
function strangers(model: Model, here: Limits): Node[] {
  const found: Node[] = [];
  for (const node of model.graph.nodes()) {
    const spelled = TWINS[opKey(node)] !== undefined && isStrange(node, here);
    if (spelled || widerFor(model.graph, node, here) !== null) found.push(node);
  }
  return found;
}

/** What has no kernel about a node, for reports: its operator, the packed form of it, or a type with it. */
function strangeness({ graph }: Model, node: Node, here: Limits): string {
  const key = opKey(node);
  if (TWINS[key] === undefined) return `${key} of ${graph.constant(node.inputs[0] ?? null)?.dtype}`;
  return here.noKernel?.includes(key) === true ? key : `packed ${key}`;
}

/** Operators a twin spells out, by name with how many there are; empty when the model runs as it is. */
export function twinnedOperators(model: Model, here: Limits): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const node of strangers(model, here)) {
    const what = strangeness(model, node, here);
    counts.set(what, (counts.get(what) ?? 0) + 1);
  }
  return counts;
}

/**
 * The plain twin of a model: a copy in which operators without a kernel on the provider described by `here` are written
 * in standard ones of the same meaning, and weights of a type it does not read in a wider one. Every value of the model
 * is in the twin too, by id and name. `null` when there is nothing to write out; what cannot be written out stays, and the
 * runtime will say so.
 */
export function plainTwin(model: Model, here: Limits): Model | null {
  if (strangers(model, here).length === 0) return null;
  const twin = cloneModel(model);
  const { graph } = twin;
  const shapes = inferShapes(twin);
  const opset = twin.opsets.get("") ?? 1;
  const patch = new PatchBuilder(graph, "plain-twin");
  const widened = new Map<ValueId, ValueId>();
  const widen = (stored: ValueId, type: DType): ValueId => {
    const known = widened.get(stored);
    if (known !== undefined) return known;
    const constant = castTensor(graph.constant(stored)!, type);
    const data = patch.constant(constant, `${graph.value(stored).name}/${type}`);
    widened.set(stored, data);
    return data;
  };
  for (const node of strangers(twin, here)) {
    const wider = widerFor(graph, node, here);
    if (wider !== null) {
      const [stored, ...rest] = node.inputs;
      patch.replace(node, { inputs: [widen(stored!, wider), ...rest] });
      continue;
    }
    const made = TWINS[opKey(node)]!(new Emit({ graph, node, shapes, patch, opset }));
    if (typeof made === "object") continue;
    // An Identity hands the result to the old output, so that whoever observes or compares values still finds it.
    patch.replace(node, { op: "Identity", domain: "", inputs: [made], attrs: new Map() });
  }
  patch.apply();
  return twin;
}
