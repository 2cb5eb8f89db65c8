import { addDim } from "../dim.ts";
import type { DType } from "../dtype.ts";
import type { Dim } from "../types.ts";
import { convOps } from "./conv.ts";
import {
  broadcast,
  count,
  elements,
  MANY,
  mergeDim,
  normalizeAxis,
  reduceShape,
  shapeOfRank,
} from "./shape-rules.ts";
import type { InferContext, OpSpec, OpTrait } from "./spec.ts";
import { windowLength, windowOf } from "./window.ts";

const ELEMENTWISE: readonly OpTrait[] = ["elementwise"];
const base = { domain: "com.microsoft", versions: [1], outputs: count(1) } as const;

/** A, its scale and zero point, B likewise, then those of the result. */
function binary(op: string): OpSpec {
  return {
    ...base,
    op,
    inputs: count(7, 8),
    traits: [...ELEMENTWISE, "commutative"],
    infer: (ctx) => ctx.set(0, ctx.dtype(0), broadcast(ctx, [ctx.shape(0), ctx.shape(3)])),
  };
}

/** X, its scale and zero point, then those of the result. */
function unary(op: string, inputs: OpSpec["inputs"]): OpSpec {
  return {
    ...base,
    op,
    inputs,
    traits: ELEMENTWISE,
    infer: (ctx) => ctx.set(0, ctx.dtype(0), ctx.shape(0)),
  };
}

/** The scale and zero point of the result, then X, scale and zero point of every part. */
function inferConcat(ctx: InferContext) {
  const parts = ctx.node.inputs.map((_, i) => i).filter((i) => i >= 2 && (i - 2) % 3 === 0);
  const dtype: DType | null = ctx.dtype(1) ?? ctx.dtype(2);
  const shapes = parts.map((i) => ctx.shape(i));
  const first = shapes[0];
  if (first === undefined || first === null || shapes.some((s) => s?.length !== first.length))
    return ctx.set(0, dtype, null);
  const axis = normalizeAxis(ctx.int("axis", 0), first.length);
  if (axis === null) return ctx.invalid(`axis ${ctx.int("axis", 0)} does not fit rank ${first.length}`);
  const out = shapes
    .slice(1)
    .reduce<Dim[]>(
      (sum, s) => sum.map((d, k) => (k === axis ? addDim(d, s![k]!) : (mergeDim(d, s![k]!) ?? ctx.fresh()))),
      [...first],
    );
  ctx.set(0, dtype, out);
}

/** Pools work on [N, C, spatial...] or, with `channels_last`, on [N, spatial..., C]. */
function inferPool(ctx: InferContext, global: boolean) {
  const shape = shapeOfRank(ctx, 0, 3);
  if (shape === null) return ctx.set(0, ctx.dtype(0), null);
  const last = ctx.int("channels_last", 0) !== 0;
  const first = last ? 1 : 2;
  const axes = shape.length - 2;
  const window = global ? null : windowOf(ctx, axes, ctx.ints_("kernel_shape") ?? []);
  if (window === null && !global) return;
  const ceil = ctx.int("ceil_mode", 0) !== 0;
  ctx.set(
    0,
    ctx.dtype(0),
    shape.map((d, i) => {
      const k = i - first;
      if (k < 0 || k >= axes) return d;
      return window === null ? 1 : windowLength(ctx, window, k, d, ceil);
    }),
  );
}

function pool(op: string, global: boolean, inputs: OpSpec["inputs"], traits: readonly OpTrait[]): OpSpec {
  return {
    ...base,
    op,
    inputs,
    traits,
    infer: (ctx) => inferPool(ctx, global),
    flops: (c) => elements(c.inputs[0]) ?? 0,
  };
}

const conv = convOps.find((s) => s.op === "QLinearConv")!;

/** QLinearConv of ORT: as the standard one, or with `channels_last` on [N, spatial..., C]. */
function inferQLinearConv(ctx: InferContext) {
  if (ctx.int("channels_last", 0) === 0) return conv.infer!(ctx);
  const x = shapeOfRank(ctx, 0, 3);
  const w = ctx.shape(3);
  const dtype = ctx.dtype(7) ?? ctx.dtype(0);
  if (x === null || w === null) return ctx.set(0, dtype, null);
  const axes = x.length - 2;
  const window = windowOf(ctx, axes, ctx.ints_("kernel_shape") ?? w.slice(2));
  if (window === null) return;
  const spatial = Array.from({ length: axes }, (_, i) => windowLength(ctx, window, i, x[i + 1]!));
  ctx.set(0, dtype, [x[0]!, ...spatial, w[0] ?? ctx.fresh()]);
}

/** Integer operators of ONNX Runtime with scales and zero points as inputs. */
export const contribQuantizeOps: readonly OpSpec[] = [
  binary("QLinearAdd"),
  binary("QLinearMul"),
  unary("QLinearSigmoid", count(4, 5)),
  unary("QLinearLeakyRelu", count(4, 5)),
  { ...unary("QLinearSoftmax", count(5)), traits: ["reduction"] },
  pool("QLinearAveragePool", false, count(4, 5), ["reduction"]),
  pool("QLinearGlobalAveragePool", true, count(5), ["reduction"]),
  pool("NhwcMaxPool", false, count(1), []),
  { ...conv, domain: "com.microsoft", versions: [1], infer: inferQLinearConv },
  { ...base, op: "QLinearConcat", inputs: count(5, MANY), traits: ["moves-data"], infer: inferConcat },
  {
    ...base,
    op: "QLinearWhere",
    inputs: count(9),
    traits: ELEMENTWISE,
    infer: (ctx) => ctx.set(0, ctx.dtype(1), broadcast(ctx, [ctx.shape(0), ctx.shape(1), ctx.shape(4)])),
  },
  {
    ...base,
    op: "QLinearReduceMean",
    inputs: count(4, 5),
    traits: ["reduction"],
    infer: (ctx) =>
      ctx.set(
        0,
        ctx.dtype(0),
        reduceShape(ctx, ctx.shape(0), { axes: ctx.ints_("axes"), keepDims: ctx.int("keepdims", 1) !== 0 }),
      ),
    flops: (c) => elements(c.inputs[0]) ?? 0,
  },
];
