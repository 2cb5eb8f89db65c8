import type { DType } from "../dtype.ts";
import { dtypeAttr } from "./constants.ts";
import { count, elements, hasInput } from "./shape-rules.ts";
import type { InferContext, OpSpec } from "./spec.ts";

/** Output type of QuantizeLinear: the zero point's, else `output_dtype`, else u8 (QuantizeLinear-21). */
function inferQuantize(ctx: InferContext) {
  const zero = hasInput(ctx, 2) ? ctx.dtype(2) : null;
  const asked = dtypeAttr(ctx, "output_dtype");
  if (zero !== null && asked !== null && zero !== asked)
    return ctx.invalid(`output_dtype is ${asked}, but the zero point is ${zero}`);
  const unknown = hasInput(ctx, 2) && zero === null;
  ctx.set(0, zero ?? asked ?? (unknown ? null : "u8"), ctx.shape(0));
}

/** Output type of DequantizeLinear: `output_dtype` (23), else the scale's. */
function inferDequantize(ctx: InferContext) {
  const x = ctx.dtype(0);
  const zero = ctx.dtype(2);
  if (x !== null && zero !== null && x !== zero)
    return ctx.invalid(`the input is ${x}, the zero point ${zero}`);
  const scale: DType | null = ctx.dtype(1) ?? (ctx.opset < 19 && ctx.node.domain === "" ? "f32" : null);
  ctx.set(0, dtypeAttr(ctx, "output_dtype") ?? scale, ctx.shape(0));
}

function inferDynamicQuantize(ctx: InferContext) {
  ctx.set(0, "u8", ctx.shape(0));
  ctx.set(1, "f32", []);
  ctx.set(2, "u8", []);
}

const quantize = {
  op: "QuantizeLinear",
  inputs: count(2, 3),
  outputs: count(1),
  traits: ["elementwise"],
  infer: inferQuantize,
  flops: (c: Parameters<NonNullable<OpSpec["flops"]>>[0]) => 2 * (elements(c.inputs[0]) ?? 0),
} as const;
const dequantize = { ...quantize, op: "DequantizeLinear", infer: inferDequantize } as const;

/** Quantization and its inverse, standard and as `com.microsoft` spells them for 16 bits below opset 21. */
export const quantizeOps: readonly OpSpec[] = [
  { ...quantize, domain: "", versions: [10, 13, 19, 21, 23, 24, 25] },
  { ...dequantize, domain: "", versions: [10, 13, 19, 21, 23, 24, 25] },
  { ...quantize, domain: "com.microsoft", versions: [1] },
  { ...dequantize, domain: "com.microsoft", versions: [1] },
  {
    op: "DynamicQuantizeLinear",
    domain: "",
    versions: [11],
    inputs: count(1),
    outputs: count(3),
    traits: ["reduction"],
    infer: inferDynamicQuantize,
    flops: (c) => 4 * (elements(c.inputs[0]) ?? 0),
  },
];
