import type { ValueId } from "../../ir/graph.ts";
import { transposeTensor } from "../../runtime/kernels/transpose.ts";
import type { Emit, Lowering } from "./emit.ts";

/** A weight with its axes in another order, moved when it is written where it is a constant. */
function turned(e: Emit, w: ValueId, perm: readonly number[]): ValueId {
  const stored = e.graph.constant(w);
  return stored === null
    ? e.transpose(w, perm)
    : e.patch.constant(transposeTensor(stored, perm), `${e.node.name}/weight`);
}

/**
 * onnxruntime's NhwcConv as Conv between Transposes: [N, spatial…, C] with weights [M, k…, C/group], as its kernels and
 * its own optimizer store them.
 */
export const nhwcConvThroughConv: Lowering = (e) => {
  const [x, w, bias] = [e.input(0), e.input(1), e.input(2)];
  const rank = e.shape(0)?.length ?? e.shape(1)?.length;
  if (x === null || w === null || rank === undefined || rank < 3)
    return { why: "the rank of its input is unknown" };
  const first = [0, rank - 1, ...Array.from({ length: rank - 2 }, (_, i) => i + 1)];
  const last = [0, ...Array.from({ length: rank - 2 }, (_, i) => i + 2), 1];
  const inputs = [e.transpose(x, first), turned(e, w, first), ...(bias === null ? [] : [bias])];
  return e.transpose(e.op("Conv", inputs, Object.fromEntries(e.node.attrs)), last);
};
