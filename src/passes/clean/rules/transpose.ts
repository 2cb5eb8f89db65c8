import { intsAttr } from "../../../ir/graph.ts";
import { axisOrder } from "../../../ir/ops/einsum.ts";
import { permOf } from "../../../ir/pattern/checks.ts";
import { stringOr } from "../../../ir/pattern/constant.ts";
import { i64Tensor } from "../../../ir/tensor.ts";
import type { Rule } from "../../rewrite.ts";
import { reshapeTarget } from "./reshape.ts";

const noop: Rule = {
  name: "transpose-noop",
  ops: ["Transpose"],
  apply(c, node) {
    const perm = permOf(c, node);
    if (perm === null || perm.some((p, i) => p !== i) || !c.claim(node)) return false;
    c.bypass(node, node.inputs[0]!);
    return true;
  },
};

/** Transpose of Transpose is one Transpose. */
const chain: Rule = {
  name: "transpose-chain",
  ops: ["Transpose"],
  apply(c, node) {
    const inner = c.producer(node, 0, "Transpose");
    if (inner === undefined) return false;
    const first = permOf(c, inner);
    const second = permOf(c, node);
    if (first === null || second === null || !c.claim(node, inner)) return false;
    const composed = second.map((p) => first[p]!);
    c.patch.replace(node, { inputs: [inner.inputs[0]!], attrs: new Map([["perm", intsAttr(composed)]]) });
    return true;
  },
};

/** When only axes of length 1 change places, memory order stays: a Reshape does it without copying. */
const asReshape: Rule = {
  name: "transpose-as-reshape",
  ops: ["Transpose"],
  apply(c, node) {
    const perm = permOf(c, node);
    const from = c.shape(node.inputs[0]);
    const to = c.shape(node.outputs[0]);
    if (perm === null || from === null || to === null) return false;
    const moving = perm.filter((p) => from[p] !== 1);
    if (moving.some((p, i) => i > 0 && p < moving[i - 1]!)) return false;
    const target = reshapeTarget(from, to);
    if (target === null || !c.claim(node)) return false;
    const [out] = c.patch.node({
      op: "Reshape",
      name: node.name,
      inputs: [node.inputs[0]!, c.patch.constant(i64Tensor(target), `${node.name}_shape`)],
    });
    c.bypass(node, out);
    return true;
  },
};

/** An Einsum of one operand that sums nothing is a Transpose, which every runtime has and other rules understand. */
const einsum: Rule = {
  name: "einsum-as-transpose",
  ops: ["Einsum"],
  apply(c, node) {
    const rank = c.shape(node.inputs[0])?.length;
    if (node.inputs.length !== 1 || rank === undefined) return false;
    const order = axisOrder(stringOr(node, "equation", ""), rank);
    if (order === null || !c.claim(node)) return false;
    c.patch.replace(node, { op: "Transpose", attrs: new Map([["perm", intsAttr(order)]]) });
    return true;
  },
};

export const transposeRules: readonly Rule[] = [einsum, noop, chain, asReshape];
