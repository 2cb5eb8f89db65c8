import type { DType } from "../dtype.ts";
import type { Dim } from "../types.ts";
import { dtypeAttr } from "./constants.ts";
import { axisAttr, count, elements, sameAs, shapeOfRank } from "./shape-rules.ts";
import type { CostContext, InferContext, OpSpec } from "./spec.ts";

/** Mean, variance, scale and shift: about eight operations an element. */
const NORM_FLOPS = 8;

function normFlops(c: CostContext): number {
  return NORM_FLOPS * (elements(c.inputs[0]) ?? 0);
}

/** Parameters of a per-channel normalisation must have one entry per channel. */
function checkChannels(ctx: InferContext, inputs: readonly number[]) {
  const channels = ctx.shape(0)?.[1];
  for (const i of inputs) {
    const n = ctx.shape(i)?.[0];
    if (typeof channels === "number" && typeof n === "number" && n !== channels)
      ctx.invalid(`input ${i} has ${n} entries for ${channels} channels`);
  }
}

/** Y and, in training, running statistics; opsets below 14 listed up to five outputs. */
function inferBatchNorm(ctx: InferContext) {
  sameAs(ctx, 0);
  shapeOfRank(ctx, 0, 2);
  checkChannels(ctx, [1, 2, 3, 4]);
  const channels: Dim = ctx.shape(0)?.[1] ?? ctx.shape(3)?.[0] ?? ctx.fresh();
  for (let o = 1; o < ctx.node.outputs.length; o++) ctx.set(o, ctx.dtype(3) ?? ctx.dtype(0), [channels]);
}

function inferInstanceNorm(ctx: InferContext) {
  sameAs(ctx, 0);
  shapeOfRank(ctx, 0, 3);
  checkChannels(ctx, [1, 2]);
}

function inferGroupNorm(ctx: InferContext) {
  sameAs(ctx, 0);
  const shape = shapeOfRank(ctx, 0, 2);
  const groups = ctx.int("num_groups", 0);
  if (groups < 1) return ctx.invalid(`num_groups is ${groups}`);
  if (typeof shape?.[1] === "number" && shape[1] % groups !== 0)
    return ctx.invalid(`${shape[1]} channels do not split into ${groups} groups`);
  // GroupNormalization-18 has one scale and bias per group, 21 one per channel.
  if (ctx.opset >= 21) return checkChannels(ctx, [1, 2]);
  const n = ctx.shape(1)?.[0];
  if (typeof n === "number" && n !== groups) ctx.invalid(`scale has ${n} entries for ${groups} groups`);
}

/** Outputs 1 and 2 are mean and inverse deviation with the normalised axes reduced to 1, in `stash_type`. */
function inferLayerNorm(ctx: InferContext) {
  sameAs(ctx, 0);
  const shape = ctx.shape(0);
  const stash: DType | null = dtypeAttr(ctx, "stash_type", "f32");
  const axis = shape === null ? null : axisAttr(ctx, shape.length, -1);
  const reduced = shape === null || axis === null ? null : shape.map((d, i) => (i < axis ? d : 1));
  for (let o = 1; o < ctx.node.outputs.length; o++) ctx.set(o, stash, reduced);
}

/** The type of the scale decides the output of RMSNormalization. */
function inferRmsNorm(ctx: InferContext) {
  const shape = ctx.shape(0);
  if (shape !== null && axisAttr(ctx, shape.length, -1) === null) return;
  ctx.set(0, ctx.dtype(1) ?? ctx.dtype(0), shape);
}

/** Training mode is decided by an attribute before opset 12 and by an input since. The mask is bool since 10. */
function inferDropout(ctx: InferContext) {
  sameAs(ctx, 0);
  if (ctx.node.outputs.length > 1) ctx.set(1, ctx.opset < 10 ? ctx.dtype(0) : "bool", ctx.shape(0));
}

function norm(
  op: string,
  versions: readonly number[],
  inputs: OpSpec["inputs"],
  infer: (ctx: InferContext) => void,
  outputs = count(1),
): OpSpec {
  return { op, domain: "", versions, inputs, outputs, traits: ["normalization"], infer, flops: normFlops };
}

const same = (ctx: InferContext): void => sameAs(ctx, 0);

/** Normalisations and Dropout. */
export const normalizationOps: readonly OpSpec[] = [
  norm("BatchNormalization", [1, 6, 7, 9, 14, 15], count(5), inferBatchNorm, count(1, 5)),
  norm("InstanceNormalization", [1, 6, 22], count(3), inferInstanceNorm),
  norm("GroupNormalization", [18, 21], count(3), inferGroupNorm),
  norm("LayerNormalization", [17], count(2, 3), inferLayerNorm, count(1, 3)),
  norm("RMSNormalization", [23], count(2), inferRmsNorm),
  norm("LRN", [1, 13], count(1), same),
  norm("LpNormalization", [1, 22], count(1), same),
  norm("MeanVarianceNormalization", [9, 13], count(1), same),
  {
    op: "Dropout",
    domain: "",
    versions: [1, 6, 7, 10, 12, 13, 22],
    inputs: count(1, 3),
    outputs: count(1, 2),
    traits: ["elementwise", "nondeterministic"],
    infer: inferDropout,
    flops: () => 0,
  },
];
