import { addDim, divDim, subDim } from "../dim.ts";
import type { Dim } from "../types.ts";
import { count, hasInput, normalizeAxis, shapeOfRank } from "./shape-rules.ts";
import type { InferContext, OpSpec } from "./spec.ts";
import { dimInput, dtypeAttr } from "./type-rules.ts";

/** Bins of a transform of real input of which only the non-negative frequencies are kept. */
function half(length: Dim): Dim {
  return addDim(divDim(length, 2), 1);
}

function dft(ctx: InferContext): void {
  const shape = ctx.shape(0);
  const dtype = ctx.dtype(0);
  if (shape === null) {
    ctx.set(0, dtype, null);
    return;
  }
  const byInput = ctx.opset >= 20;
  const axes = byInput && hasInput(ctx, 2) ? ctx.ints(2) : null;
  const raw = byInput ? (hasInput(ctx, 2) ? (axes?.[0] ?? null) : -2) : ctx.int("axis", 1);
  const axis = raw === null ? null : normalizeAxis(raw, shape.length);
  if (raw !== null && (axis === null || axis === shape.length - 1)) {
    ctx.invalid(`axis ${raw} is not a signal axis of rank ${shape.length}`);
    return;
  }
  const onesided = ctx.int("onesided", 0) !== 0;
  const inverse = ctx.int("inverse", 0) !== 0;
  const out: Dim[] = shape.map((d, i) => (axis === null && i < shape.length - 1 ? ctx.fresh() : d));
  out[shape.length - 1] = onesided && inverse ? 1 : 2;
  if (axis !== null) {
    const length = hasInput(ctx, 1) ? dimInput(ctx, 1) : (shape[axis] ?? ctx.fresh());
    out[axis] = onesided && !inverse ? half(length) : length;
  }
  ctx.set(0, dtype, out);
}

function stft(ctx: InferContext): void {
  const signal = shapeOfRank(ctx, 0, 2, 3);
  const window = ctx.shape(2);
  const frame = hasInput(ctx, 3) ? dimInput(ctx, 3) : (window?.[0] ?? ctx.fresh());
  const step = dimInput(ctx, 1);
  const length = signal?.[1];
  const frames = length === undefined ? ctx.fresh() : addDim(divDim(subDim(length, frame), step), 1);
  const bins = ctx.int("onesided", 1) !== 0 ? half(frame) : frame;
  ctx.set(0, ctx.dtype(0), [signal?.[0] ?? ctx.fresh(), frames, bins, 2]);
}

function window(op: string): OpSpec {
  return {
    op,
    domain: "",
    versions: [17],
    inputs: count(1),
    outputs: count(1),
    shapeInputs: [0],
    infer: (ctx) => ctx.set(0, dtypeAttr(ctx, "output_datatype", "f32"), [dimInput(ctx, 0)]),
  };
}

/** Signal processing operators. */
export const signalOps: readonly OpSpec[] = [
  {
    op: "DFT",
    domain: "",
    versions: [17, 20],
    inputs: count(1, 3),
    outputs: count(1),
    shapeInputs: [1, 2],
    infer: dft,
  },
  {
    op: "STFT",
    domain: "",
    versions: [17],
    inputs: count(2, 4),
    outputs: count(1),
    shapeInputs: [1, 3],
    infer: stft,
  },
  window("HannWindow"),
  window("HammingWindow"),
  window("BlackmanWindow"),
  {
    op: "MelWeightMatrix",
    domain: "",
    versions: [17],
    inputs: count(5),
    outputs: count(1),
    shapeInputs: [0, 1, 2],
    infer: (ctx) =>
      ctx.set(0, dtypeAttr(ctx, "output_datatype", "f32"), [half(dimInput(ctx, 1)), dimInput(ctx, 0)]),
  },
];
