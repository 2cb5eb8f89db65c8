import { count, elements, sameAs } from "./shape-rules.ts";
import type { InferContext, OpSpec } from "./spec.ts";

/** Loss over [N, C, d1, ...] scores and [N, d1, ...] labels: per label without reduction, else one number. */
function loss(ctx: InferContext): void {
  const reduction = ctx.str("reduction", "mean");
  if (reduction !== "none") {
    ctx.set(0, ctx.dtype(0), []);
    return;
  }
  const scores = ctx.shape(0);
  const labels =
    ctx.shape(1) ?? (scores === null || scores.length < 2 ? null : scores.filter((_, i) => i !== 1));
  ctx.set(0, ctx.dtype(0), labels);
}

/** Training losses. */
export const lossesOps: readonly OpSpec[] = [
  {
    op: "NegativeLogLikelihoodLoss",
    domain: "",
    versions: [12, 13, 22],
    inputs: count(2, 3),
    outputs: count(1),
    traits: ["reduction"],
    infer: loss,
    flops: (ctx) => 2 * (elements(ctx.inputs[1]) ?? 0),
  },
  {
    op: "SoftmaxCrossEntropyLoss",
    domain: "",
    versions: [12, 13],
    inputs: count(2, 3),
    outputs: count(1, 2),
    traits: ["reduction"],
    infer: (ctx) => {
      loss(ctx);
      sameAs(ctx, 0, 1);
    },
    flops: (ctx) => 5 * (elements(ctx.inputs[0]) ?? 0),
  },
];
