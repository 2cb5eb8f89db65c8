import { divDim } from "../dim.ts";
import type { Node } from "../graph.ts";
import type { Dim } from "../types.ts";
import { dtypeAttr } from "./constants.ts";
import { convOps } from "./conv.ts";
import { axisAttr, count, elements, sameAs, shapeOfRank } from "./shape-rules.ts";
import type { CostContext, InferContext, OpSpec, OpTrait } from "./spec.ts";
import { plainInt, windowLength, windowOf } from "./window.ts";

const same = (ctx: InferContext): void => sameAs(ctx, 0);

function normFlops(c: CostContext): number {
  return 8 * (elements(c.inputs[0]) ?? 0);
}

/** Activation with the input's shape; a second input is a bias along the last axis. */
function activation(op: string, inputs: OpSpec["inputs"]): OpSpec {
  return {
    op,
    domain: "com.microsoft",
    versions: [1],
    inputs,
    outputs: count(1),
    traits: ["elementwise"],
    infer: same,
  };
}

function norm(
  op: string,
  inputs: OpSpec["inputs"],
  infer: (ctx: InferContext) => void,
  outputs = count(1),
): OpSpec {
  const traits: readonly OpTrait[] = ["normalization"];
  return { op, domain: "com.microsoft", versions: [1], inputs, outputs, traits, infer, flops: normFlops };
}

/** Mean and inverse deviation (outputs 1 and 2) drop to 1 along the last axis; output 3 is the sum with the skip. */
function inferSkipNorm(ctx: InferContext) {
  same(ctx);
  const reduced = ctx.shape(0)?.map((d, i, all) => (i === all.length - 1 ? 1 : d)) ?? null;
  ctx.set(1, "f32", reduced);
  ctx.set(2, "f32", reduced);
  ctx.setType(3, ctx.type(0));
}

/** ORT registers it in the standard domain; `stash_type` is the type of output 1. */
function inferSimplifiedNorm(ctx: InferContext) {
  const shape = ctx.shape(0);
  ctx.set(0, ctx.dtype(1) ?? ctx.dtype(0), shape);
  const axis = shape === null ? null : axisAttr(ctx, shape.length, -1);
  const reduced = shape === null || axis === null ? null : shape.map((d, i) => (i < axis ? d : 1));
  ctx.set(1, dtypeAttr(ctx, "stash_type", "f32"), reduced);
}

function inferSkipGroupNorm(ctx: InferContext) {
  same(ctx);
  ctx.setType(1, ctx.type(0));
}

/** Left half times gelu of the right half: the last axis is halved. */
function inferBiasSplitGelu(ctx: InferContext) {
  const shape = shapeOfRank(ctx, 0, 1);
  if (shape === null) return ctx.set(0, ctx.dtype(0), null);
  ctx.set(0, ctx.dtype(0), [...shape.slice(0, -1), divDim(shape[shape.length - 1]!, 2)]);
}

/** Convolution of [N, spatial..., C]; the weight is [M, k..., C/group] (`last`) or [M, C/group, k...]. */
function inferNhwcConv(ctx: InferContext, last: boolean) {
  const x = shapeOfRank(ctx, 0, 3);
  const w = ctx.shape(1);
  if (x === null || w === null) return ctx.set(0, ctx.dtype(0), null);
  const axes = x.length - 2;
  const kernel = ctx.ints_("kernel_shape") ?? (last ? w.slice(1, 1 + axes) : w.slice(2));
  const window = windowOf(ctx, axes, kernel);
  if (window === null) return;
  const out: Dim[] = [x[0]!];
  for (let i = 0; i < axes; i++) out.push(windowLength(ctx, window, i, x[i + 1]!));
  ctx.set(0, ctx.dtype(0), [...out, w[0] ?? ctx.fresh()]);
}

function convFlops(c: CostContext): number {
  const w = c.inputs[1];
  return w === null || w === undefined ? 0 : 2 * (elements(c.outputs[0]) ?? 0) * (elements(w.slice(1)) ?? 0);
}

function nhwcConv(op: string, inputs: OpSpec["inputs"], last: boolean): OpSpec {
  return {
    op,
    domain: "com.microsoft",
    versions: [1],
    inputs,
    outputs: count(1),
    infer: (ctx) => inferNhwcConv(ctx, last),
    flops: convFlops,
    weight(node: Node, rank) {
      const r = rank(1);
      if (r === null || r < 3) return null;
      const others = Array.from({ length: r - 1 }, (_, i) => i + 1);
      const inAxis = last ? r - 1 : 1;
      return {
        input: 1,
        outAxis: 0,
        inAxis,
        reduceAxes: [inAxis, ...others.filter((a) => a !== inAxis)],
        activation: 0,
        bias: node.inputs[2] === null || node.inputs[2] === undefined ? null : 2,
        groups: plainInt(node, "group", 1),
      };
    },
  };
}

/** Rows of a block-quantized table, dequantized (GatherBlockQuantized); packed rows hold 8/bits values a byte. */
function inferGatherBlock(ctx: InferContext) {
  const data = ctx.shape(0);
  const indices = ctx.shape(1);
  if (data === null || indices === null) return ctx.set(0, ctx.dtype(2), null);
  const axis = axisAttr(ctx, data.length, 0, "gather_axis");
  const blocks = axisAttr(ctx, data.length, 1, "quantize_axis");
  if (axis === null || blocks === null) return;
  const perByte = ctx.dtype(0) === "u8" ? Math.floor(8 / ctx.int("bits", 4)) : 1;
  const rows = data.map((d, i) => (i === blocks && typeof d === "number" ? d * perByte : d));
  ctx.set(0, ctx.dtype(2), [...rows.slice(0, axis), ...indices, ...rows.slice(axis + 1)]);
}

const conv = convOps.find((s) => s.op === "Conv")!;

/** Contributed operators that fuse normalisation, activation, bias and convolution. */
export const contribOps: readonly OpSpec[] = [
  activation("Gelu", count(1)),
  activation("FastGelu", count(1, 2)),
  activation("QuickGelu", count(1)),
  activation("BiasGelu", count(2)),
  activation("BiasAdd", count(3)),
  activation("BiasSoftmax", count(2)),
  { ...activation("BiasSplitGelu", count(2)), traits: [], infer: inferBiasSplitGelu, flops: normFlops },
  norm("GroupNorm", count(3), same),
  norm("SkipGroupNorm", count(4, 5), inferSkipGroupNorm, count(1, 2)),
  norm("SkipLayerNormalization", count(3, 5), inferSkipNorm, count(1, 4)),
  norm("SkipSimplifiedLayerNormalization", count(3, 4), inferSkipNorm, count(1, 4)),
  { ...norm("SimplifiedLayerNormalization", count(2), inferSimplifiedNorm, count(1, 2)), domain: "" },
  nhwcConv("NhwcConv", count(2, 3), true),
  nhwcConv("NhwcFusedConv", count(2, 4), false),
  { ...conv, op: "FusedConv", domain: "com.microsoft", versions: [1], inputs: count(2, 4) },
  {
    op: "GatherBlockQuantized",
    domain: "com.microsoft",
    versions: [1],
    inputs: count(3, 4),
    outputs: count(1),
    infer: inferGatherBlock,
  },
];
