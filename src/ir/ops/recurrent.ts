import type { Dim } from "../types.ts";
import { count, shapeOfRank } from "./shape-rules.ts";
import type { OpSpec } from "./spec.ts";

/** RNN family: X [seq, batch, in] (or [batch, seq, in] with layout 1), W [dirs, gates·hidden, in], R [.., hidden]. */
function recurrent(op: string, gates: number, inputs: number, outputs: number): OpSpec {
  return {
    op,
    domain: "",
    versions: [1, 7, 14, 22],
    inputs: count(3, inputs),
    outputs: count(0, outputs),
    infer: (ctx) => {
      const dtype = ctx.dtype(0);
      const x = shapeOfRank(ctx, 0, 3);
      const direction = ctx.str("direction", "forward");
      const dirs = direction === "bidirectional" ? 2 : 1;
      const stated = ctx.int("hidden_size", 0);
      const recurrence = ctx.shape(2);
      const hidden: Dim = stated > 0 ? stated : (recurrence?.[2] ?? ctx.fresh());
      const batchFirst = ctx.int("layout", 0) === 1;
      const [a, b] = [x?.[0] ?? ctx.fresh(), x?.[1] ?? ctx.fresh()];
      const [seq, batch] = batchFirst ? [b, a] : [a, b];
      ctx.set(0, dtype, batchFirst ? [batch, seq, dirs, hidden] : [seq, dirs, batch, hidden]);
      const last = batchFirst ? [batch, dirs, hidden] : [dirs, batch, hidden];
      for (let i = 1; i < outputs; i++) ctx.set(i, dtype, last);
    },
    flops: (ctx) => {
      const [x, w, r] = ctx.inputs;
      if (x === null || x === undefined || w === null || w === undefined || r === null || r === undefined)
        return 0;
      const [steps, batch, width] = [x[0] ?? 0, x[1] ?? 0, x[2] ?? 0];
      const hidden = r[2] ?? 0;
      return 2 * steps * batch * (w[0] ?? 1) * gates * hidden * (width + hidden);
    },
  };
}

/** Recurrent layers. */
export const recurrentOps: readonly OpSpec[] = [
  recurrent("RNN", 1, 6, 2),
  recurrent("GRU", 3, 6, 2),
  recurrent("LSTM", 4, 8, 3),
];
