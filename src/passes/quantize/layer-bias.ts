import { elementCount, isFloat } from "../../ir/dtype.ts";
import { attrFloat, type Graph, type Node, type ValueId } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { affineTensor } from "../../runtime/kernels/affine.ts";
import { reshapeTensor } from "../../runtime/kernels/reshape.ts";
import type { Layer } from "./layers.ts";

/** The constant that is added to every output of a layer, read by nothing else. */
export interface LayerBias {
  readonly value: ValueId;
  readonly tensor: Tensor;
}

/** What is added right behind a node without a bias of its own, when that is all that reads it. */
function addedBehind(graph: Graph, node: Node): ValueId | null {
  const out = node.outputs[0];
  if (out === null || out === undefined || graph.isOutput(out)) return null;
  const [user, ...others] = graph.users(out).map((id) => graph.node(id));
  if (user === undefined || others.length > 0 || user.domain !== "" || user.op !== "Add") return null;
  return user.inputs.find((i) => i !== out) ?? null;
}

/** The bias of a layer that can take up a correction; `null` when it has none, or one that others read too. */
export function layerBias(graph: Graph, layer: Layer): LayerBias | null {
  const { node, role, tensor: weight } = layer;
  if ((attrFloat(node, "alpha") ?? 1) !== 1 || (attrFloat(node, "beta") ?? 1) !== 1) return null;
  const own = role.bias === null ? null : (node.inputs[role.bias] ?? null);
  const value = own ?? addedBehind(graph, node);
  const tensor = value === null ? null : graph.constant(value);
  const outputs = weight.dims[role.outAxis]!;
  if (value === null || tensor === null || !isFloat(tensor.dtype)) return null;
  if (elementCount(tensor.dims) !== outputs || tensor.dims.at(-1) !== outputs) return null;
  return graph.users(value).length === 1 && !graph.isOutput(value) ? { value, tensor } : null;
}

/** A bias plus a correction, f32 [outputs]. */
export function correctedBias(bias: LayerBias, correction: Tensor): Tensor {
  const flat = reshapeTensor(bias.tensor, [elementCount(bias.tensor.dims)]);
  return reshapeTensor(affineTensor(flat, { axis: 0, offset: correction }), bias.tensor.dims);
}

/** Adds a correction, f32 [outputs], to a bias. */
export function correctBias(patch: PatchBuilder, bias: LayerBias, correction: Tensor, name: string): void {
  patch.redirect(bias.value, patch.constant(correctedBias(bias, correction), name)).drop(bias.value);
}
