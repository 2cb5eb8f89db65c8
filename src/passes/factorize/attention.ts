import { elementCount } from "../../ir/dtype.ts";
import {
  attrFloat,
  attrInt,
  floatAttr,
  type Graph,
  type Node,
  type NodeId,
  type ValueId,
} from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { type Tensor, tensorBytes } from "../../ir/tensor.ts";
import { sizesOf } from "../../runtime/kernels/fit-inputs.ts";
import type { NarrowedTensors } from "../../runtime/kernels/narrow-heads.ts";
import { type Layer, weightLayers } from "../quantize/layers.ts";

/** A matrix product that makes the heads of an attention, with the constant added to it. */
export interface HeadLayer {
  readonly layer: Layer;
  readonly order: "KN" | "NK";
  readonly bias: { readonly value: ValueId; readonly tensor: Tensor; readonly reader: Node } | null;
}

/** An attention written as one operator, whose head width is free. */
export interface AttentionSite {
  readonly node: Node;
  readonly heads: number;
  /** Width of the heads of queries and keys, and of values. */
  readonly width: number;
  readonly valueWidth: number;
  readonly q: HeadLayer;
  readonly k: HeadLayer;
  readonly v: HeadLayer;
  /** The product that reads the joined heads; else why there is none. */
  readonly out: HeadLayer | string;
}

const orderOf = ({ node, role, tensor }: Layer): "KN" | "NK" | null => {
  if (tensor.dims.length !== 2 || role.activation !== 0 || attrInt(node, "transA") === 1) return null;
  return role.outAxis === 1 ? "KN" : "NK";
};

/** What sites are looked up in. */
interface Lookup {
  readonly graph: Graph;
  readonly layers: ReadonlyMap<NodeId, Layer>;
}

function onlyUser(graph: Graph, value: ValueId): Node | null {
  const [user, ...others] = graph.users(value);
  return user === undefined || others.length > 0 || graph.isOutput(value) ? null : graph.node(user);
}

/** A constant per output that nothing but `reader` reads. */
function biasAt(
  graph: Graph,
  reader: Node,
  value: ValueId | null | undefined,
  outputs: number,
): HeadLayer["bias"] | string {
  if (value === null || value === undefined) return null;
  const tensor = graph.constant(value);
  if (tensor === null || elementCount(tensor.dims) !== outputs || tensor.dims.at(-1) !== outputs)
    return "what is added behind a projection is no bias";
  return onlyUser(graph, value) === null ? "a bias is shared" : { value, tensor, reader };
}

/** The product that makes a value, with the bias behind it; else why there is none. */
function madeBy({ graph, layers }: Lookup, value: ValueId): HeadLayer | string {
  const between = "something lies between a projection and the scores: a rotation, a norm or a move of axes";
  const last = graph.producer(value);
  if (last === undefined || onlyUser(graph, value) === null) return "a projection is read by others too";
  const own = layers.get(last.id);
  const input =
    last.op === "Add" && last.domain === ""
      ? last.inputs.find((i) => layers.has(graph.producer(i)?.id ?? (-1 as NodeId)))
      : undefined;
  const node = own === undefined ? graph.producer(input) : last;
  const layer = own ?? (node === undefined ? undefined : layers.get(node.id));
  if (layer === undefined || node === undefined) return between;
  if (own === undefined && onlyUser(graph, input!) === null) return "a projection is read by others too";
  const order = orderOf(layer);
  if (order === null || onlyUser(graph, layer.value) === null)
    return "a projection's weight is no matrix of its own";
  const outputs = layer.tensor.dims[layer.role.outAxis]!;
  const inner = layer.role.bias === null ? null : layer.node.inputs[layer.role.bias];
  if (own === undefined && inner !== null && inner !== undefined) return "a projection has two biases";
  if ((attrFloat(layer.node, "alpha") ?? 1) !== 1 || (attrFloat(layer.node, "beta") ?? 1) !== 1)
    return "a projection scales its result";
  const bias =
    own === undefined
      ? biasAt(
          graph,
          last,
          last.inputs.find((i) => i !== input),
          outputs,
        )
      : biasAt(graph, node, inner, outputs);
  return typeof bias === "string" ? bias : { layer, order, bias };
}

/** The product that alone reads a value. */
function readBy({ graph, layers }: Lookup, value: ValueId): HeadLayer | string {
  const user = onlyUser(graph, value);
  const layer = user === null ? undefined : layers.get(user.id);
  if (user === null || layer === undefined || user.inputs[layer.role.activation] !== value)
    return "no single product reads the joined heads";
  const order = orderOf(layer);
  if (order === null || onlyUser(graph, layer.value) === null)
    return "the output projection's weight is no matrix of its own";
  return { layer, order, bias: null };
}

function headCount(node: Node): number | null {
  if (node.domain === "com.microsoft" && node.op === "MultiHeadAttention")
    return attrInt(node, "num_heads") ?? null;
  if (node.domain !== "" || node.op !== "Attention") return null;
  const heads = attrInt(node, "q_num_heads");
  return heads !== undefined && heads === attrInt(node, "kv_num_heads") ? heads : null;
}

/** True for nodes that are an attention in one of the spellings with free head widths. */
function isAttention(node: Node): boolean {
  return (
    (node.domain === "com.microsoft" && node.op === "MultiHeadAttention") ||
    (node.domain === "" && node.op === "Attention")
  );
}

/** An attention that can be narrowed; else why not. */
function siteOf(lookup: Lookup, node: Node): AttentionSite | string {
  const heads = headCount(node);
  if (heads === null) return "queries and keys have different heads";
  const given = node.inputs.map((id, i) => (id === null ? -1 : i)).filter((i) => i >= 0);
  const mask = node.op === "Attention" ? 3 : 5;
  if (given.some((i) => i > 2 && i !== mask)) return "it takes a bias or a cache";
  if (node.outputs.slice(1).some((o) => o !== null)) return "its cache or scores are read";
  const [q, k, v] = [0, 1, 2].map((i) => {
    const id = node.inputs[i];
    return id === null || id === undefined ? "queries, keys and values are packed" : madeBy(lookup, id);
  }) as [HeadLayer | string, HeadLayer | string, HeadLayer | string];
  if (typeof q === "string") return q;
  if (typeof k === "string") return k;
  if (typeof v === "string") return v;
  const outputs = (l: HeadLayer): number => l.layer.tensor.dims[l.layer.role.outAxis]!;
  if (outputs(q) !== outputs(k) || outputs(q) % heads !== 0 || outputs(v) % heads !== 0)
    return "its heads differ in width";
  const valueWidth = outputs(v) / heads;
  const reader = readBy(lookup, node.outputs[0]!);
  const few = typeof reader !== "string" && headSides(reader).rows < valueWidth;
  const out = few ? "the output projection has fewer outputs than a head has dimensions" : reader;
  return { node, heads, width: outputs(q) / heads, valueWidth, q, k, v, out };
}

/** Every attention operator of a graph, with its layers or why it stays as it is. */
export function attentionSites(
  graph: Graph,
  shapes: InferredShapes,
): { node: Node; site: AttentionSite | string }[] {
  const layers = new Map(weightLayers(graph, shapes).map((l) => [l.node.id, l]));
  return [...graph.nodes()]
    .filter(isAttention)
    .map((node) => ({ node, site: siteOf({ graph, layers }, node) }));
}

/** Bytes of a projection's weight and bias. */
export function headBytes({ layer, bias }: HeadLayer): number {
  return tensorBytes(layer.tensor) + (bias === null ? 0 : tensorBytes(bias.tensor));
}

/** Factor on the scores, which stays that of the original width. */
export function scaleOf({ node, width }: AttentionSite): number {
  const scale = attrFloat(node, "scale") ?? 0;
  return scale === 0 ? 1 / Math.sqrt(width) : scale;
}

/** Edits of nodes that several rewrites of one attention make: written once. */
export interface Edits {
  readonly inputs: Map<NodeId, Map<ValueId, ValueId>>;
}

/** Puts a constant in place of another in one node. */
export function exchange(
  graph: Graph,
  patch: PatchBuilder,
  edits: Edits,
  of: { node: Node; from: ValueId; tensor: Tensor; name: string },
): void {
  const to = patch.constant(of.tensor, of.name);
  const known = edits.inputs.get(of.node.id) ?? new Map<ValueId, ValueId>();
  known.set(of.from, to);
  edits.inputs.set(of.node.id, known);
  if (graph.constant(of.from) !== null) patch.drop(of.from);
}

/** Puts narrower tensors in place of a projection's. */
export function writeHeads(
  graph: Graph,
  patch: PatchBuilder,
  edits: Edits,
  { layer, bias }: HeadLayer,
  t: NarrowedTensors,
): void {
  const name = layer.node.name || `w${layer.value}`;
  exchange(graph, patch, edits, {
    node: layer.node,
    from: layer.value,
    tensor: t.weight,
    name: `${name}/narrow.weight`,
  });
  if (bias !== null && t.bias !== null)
    exchange(graph, patch, edits, {
      node: bias.reader,
      from: bias.value,
      tensor: t.bias,
      name: `${name}/narrow.bias`,
    });
}

/** Writes the collected edits, and the scale of every attention whose queries were narrowed. */
export function writeEdits(
  graph: Graph,
  patch: PatchBuilder,
  edits: Edits,
  scales: ReadonlyMap<NodeId, number>,
): void {
  for (const [id, change] of edits.inputs) {
    const node = graph.node(id);
    patch.replace(node, { inputs: node.inputs.map((i) => (i === null ? null : (change.get(i) ?? i))) });
  }
  for (const [id, scale] of scales) {
    const node = graph.node(id);
    patch.replace(node, { attrs: new Map([...node.attrs, ["scale", floatAttr(scale)]]) });
  }
}

/** Outputs and inputs of a head layer's weight. */
export function headSides({ layer, order }: HeadLayer): { rows: number; columns: number } {
  return sizesOf(layer.tensor.dims, order);
}
