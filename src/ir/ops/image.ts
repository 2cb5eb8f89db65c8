import { count, elements, freshShape, shapeOfRank } from "./shape-rules.ts";
import type { InferContext, OpSpec } from "./spec.ts";

function roiAlign(ctx: InferContext): void {
  const x = shapeOfRank(ctx, 0, 4);
  const rois = shapeOfRank(ctx, 1, 2);
  ctx.set(0, ctx.dtype(0), [
    rois?.[0] ?? ctx.shape(2)?.[0] ?? ctx.fresh(),
    x?.[1] ?? ctx.fresh(),
    ctx.int("output_height", 1),
    ctx.int("output_width", 1),
  ]);
}

function gridSample(ctx: InferContext): void {
  const x = shapeOfRank(ctx, 0, 3);
  const grid = ctx.shape(1);
  if (grid === null) {
    ctx.set(0, ctx.dtype(0), x === null ? null : [x[0]!, x[1]!, ...freshShape(ctx, x.length - 2)]);
    return;
  }
  if (x !== null && x.length !== grid.length) {
    ctx.invalid(`input has rank ${x.length}, grid ${grid.length}`);
    return;
  }
  if (grid.length < 3) {
    ctx.invalid(`grid has rank ${grid.length}, expected at least 3`);
    return;
  }
  ctx.set(0, ctx.dtype(0), [x?.[0] ?? grid[0]!, x?.[1] ?? ctx.fresh(), ...grid.slice(1, -1)]);
}

function affineGrid(ctx: InferContext): void {
  const size = ctx.data(1);
  const listed = ctx.shape(1)?.[0];
  const rank = size?.length ?? (typeof listed === "number" ? listed : null);
  if (rank === null) {
    ctx.set(0, ctx.dtype(0), null);
    return;
  }
  if (rank !== 4 && rank !== 5) {
    ctx.invalid(`size has ${rank} elements, expected 4 or 5`);
    return;
  }
  const spatial = size?.slice(2) ?? freshShape(ctx, rank - 2);
  ctx.set(0, ctx.dtype(0), [size?.[0] ?? ctx.shape(0)?.[0] ?? ctx.fresh(), ...spatial, rank - 2]);
}

function col2im(ctx: InferContext): void {
  const x = shapeOfRank(ctx, 0, 3);
  const image = ctx.data(1);
  const listed = ctx.shape(1)?.[0];
  const block = ctx.ints(2);
  const channels = x?.[1];
  const per = block?.reduce((a, b) => a * b, 1);
  const c =
    typeof channels === "number" && per !== undefined && per > 0 && channels % per === 0
      ? channels / per
      : ctx.fresh();
  const spatial = image ?? (typeof listed === "number" ? freshShape(ctx, listed) : null);
  ctx.set(0, ctx.dtype(0), spatial === null ? null : [x?.[0] ?? ctx.fresh(), c, ...spatial]);
}

/** Channels that ImageDecoder gives per pixel format. */
const PIXEL_CHANNELS: Readonly<Record<string, number>> = { RGB: 3, BGR: 3, Grayscale: 1 };

/** Image operators: regions, grids, columns, decoding. */
export const imageOps: readonly OpSpec[] = [
  {
    op: "RoiAlign",
    domain: "",
    versions: [10, 16, 22],
    inputs: count(3),
    outputs: count(1),
    infer: roiAlign,
    flops: (ctx) => 8 * (elements(ctx.outputs[0]) ?? 0) * Math.max(1, ctx.int("sampling_ratio", 1)) ** 2,
  },
  {
    op: "GridSample",
    domain: "",
    versions: [16, 20, 22],
    inputs: count(2),
    outputs: count(1),
    infer: gridSample,
    flops: (ctx) => 8 * (elements(ctx.outputs[0]) ?? 0),
  },
  {
    op: "AffineGrid",
    domain: "",
    versions: [20],
    inputs: count(2),
    outputs: count(1),
    shapeInputs: [1],
    infer: affineGrid,
    flops: (ctx) => 6 * (elements(ctx.outputs[0]) ?? 0),
  },
  {
    op: "NonMaxSuppression",
    domain: "",
    versions: [10, 11],
    inputs: count(2, 5),
    outputs: count(1),
    infer: (ctx) => ctx.set(0, "i64", [ctx.fresh(), 3]),
  },
  {
    op: "Col2Im",
    domain: "",
    versions: [18],
    inputs: count(3),
    outputs: count(1),
    shapeInputs: [1, 2],
    infer: col2im,
    flops: (ctx) => elements(ctx.inputs[0]) ?? 0,
  },
  {
    op: "ImageDecoder",
    domain: "",
    versions: [20],
    inputs: count(1),
    outputs: count(1),
    infer: (ctx) => {
      const format = ctx.str("pixel_format", "RGB");
      const channels = PIXEL_CHANNELS[format];
      if (channels === undefined) ctx.invalid(`pixel_format ${format} is not one of RGB, BGR, Grayscale`);
      ctx.set(0, "u8", [ctx.fresh(), ctx.fresh(), channels ?? ctx.fresh()]);
    },
  },
];
