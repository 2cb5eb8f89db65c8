import { dtypeOf } from "../../../ir/dtype.ts";
import { attrInt, attrInts, type Node } from "../../../ir/graph.ts";
import type { Tensor } from "../../../ir/tensor.ts";
import { castTensor } from "../../../runtime/kernels/cast.ts";
import { reshapeTensor } from "../../../runtime/kernels/reshape.ts";
import { transposeTensor } from "../../../runtime/kernels/transpose.ts";

type Derive = (node: Node, weight: Tensor, dims: readonly number[]) => Tensor | null;

const reshape: Derive = (_node, weight, dims) => reshapeTensor(weight, dims);

/** Operators of one constant that have a derivation kernel; adding one makes large weights fold through it. */
const KERNELS: Readonly<Record<string, Derive>> = {
  Reshape: reshape,
  Flatten: reshape,
  Squeeze: reshape,
  Unsqueeze: reshape,
  Identity: (_node, weight) => weight,
  Transpose: (node, weight) =>
    transposeTensor(weight, attrInts(node, "perm") ?? weight.dims.map((_, i) => weight.dims.length - 1 - i)),
  Cast: (node, weight) => {
    const to = dtypeOf(attrInt(node, "to") ?? 0);
    return to === null || to === "string" || weight.dtype === "string" ? null : castTensor(weight, to);
  },
};

/**
 * The result of a node over a constant as a lazy derivation, so that folding a weight moves no bytes. `dims` is the
 * inferred shape of output 0. `null` when the operator has no kernel or the shape is not known.
 */
export function derive(node: Node, weight: Tensor, dims: readonly number[] | null): Tensor | null {
  if (dims === null || weight.source.kind === "strings") return null;
  return KERNELS[node.op]?.(node, weight, dims) ?? null;
}
