import { productDim } from "../dim.ts";
import type { Dim } from "../types.ts";
import { followedSize } from "./data-rules.ts";
import { commonDType } from "./elementwise.ts";
import { axisAttr, count, sameAs } from "./shape-rules.ts";
import type { InferContext, OpSpec, OpTrait } from "./spec.ts";

const MOVES: readonly OpTrait[] = ["moves-data"];

function inferGather(ctx: InferContext) {
  const data = ctx.shape(0);
  const indices = ctx.shape(1);
  if (data === null) return ctx.set(0, ctx.dtype(0), null);
  const axis = axisAttr(ctx, data.length, 0);
  if (axis === null) return;
  if (indices === null) return ctx.set(0, ctx.dtype(0), null);
  ctx.set(0, ctx.dtype(0), [...data.slice(0, axis), ...indices, ...data.slice(axis + 1)]);
  if (axis === 0) gatherData(ctx, data);
}

/** Picks rows along axis 0 of followed values. */
function gatherData(ctx: InferContext, shape: readonly Dim[]) {
  const values = ctx.data(0);
  const picks = ctx.data(1);
  const rows = shape[0];
  const size = followedSize(shape);
  if (values === null || picks === null || size !== values.length || typeof rows !== "number" || rows === 0)
    return;
  const row = size / rows;
  const out: Dim[] = [];
  for (const p of picks) {
    const at = typeof p === "number" ? (p < 0 ? p + rows : p) : -1;
    if (typeof p === "number" && (at < 0 || at >= rows)) {
      ctx.invalid(`index ${p} is out of range for axis 0 of length ${rows}`);
      return;
    }
    for (let k = 0; k < row; k++) out.push(at < 0 ? ctx.fresh() : values[at * row + k]!);
  }
  if (out.length <= 1024) ctx.setData(0, out);
}

function inferGatherElements(ctx: InferContext) {
  const [data, indices] = [ctx.shape(0), ctx.shape(1)];
  if (data !== null && indices !== null && data.length !== indices.length)
    return ctx.invalid(`data has rank ${data.length}, indices have ${indices.length}`);
  if (data !== null && axisAttr(ctx, data.length, 0) === null) return;
  ctx.set(0, ctx.dtype(0), indices);
}

function inferGatherND(ctx: InferContext) {
  const [data, indices] = [ctx.shape(0), ctx.shape(1)];
  const depth = indices?.at(-1);
  if (data === null || indices === null || typeof depth !== "number") return ctx.set(0, ctx.dtype(0), null);
  const batch = ctx.int("batch_dims", 0);
  if (batch < 0 || batch + depth > data.length || batch > indices.length - 1)
    return ctx.invalid(`indices of depth ${depth} with ${batch} batch axes do not fit rank ${data.length}`);
  ctx.set(0, ctx.dtype(0), [...indices.slice(0, -1), ...data.slice(batch + depth)]);
}

function inferScatter(ctx: InferContext) {
  commonDType(ctx, [0, 2]);
  sameAs(ctx, 0);
}

function scatter(op: string, versions: readonly number[], shapeInputs?: readonly number[]): OpSpec {
  return {
    op,
    domain: "",
    versions,
    inputs: op === "TensorScatter" ? count(2, 3) : count(3),
    outputs: count(1),
    ...(shapeInputs && { shapeInputs }),
    infer: op === "TensorScatter" ? (ctx) => sameAs(ctx, 0) : inferScatter,
  };
}

function inferOneHot(ctx: InferContext) {
  const indices = ctx.shape(0);
  const dtype = ctx.dtype(2);
  if (indices === null) return ctx.set(0, dtype, null);
  const depth = ctx.data(1)?.[0] ?? ctx.fresh();
  const axis = axisAttr(ctx, indices.length + 1, -1);
  if (axis === null) return;
  ctx.set(0, dtype, [...indices.slice(0, axis), depth, ...indices.slice(axis)]);
}

function inferNonZero(ctx: InferContext) {
  const rank = ctx.shape(0)?.length;
  // A scalar counts as a vector of one element.
  ctx.set(0, "i64", [rank === undefined ? ctx.fresh() : Math.max(rank, 1), ctx.fresh()]);
}

function inferTopK(ctx: InferContext) {
  const shape = ctx.shape(0);
  const dtype = ctx.dtype(0);
  let out: Dim[] | null = null;
  if (shape !== null) {
    const axis = axisAttr(ctx, shape.length, -1);
    if (axis === null) return;
    const k: Dim = (ctx.opset < 10 ? ctx.int("k", -1) : ctx.data(1)?.[0]) ?? ctx.fresh();
    if (typeof k === "number" && k < 0) return ctx.invalid(`k is ${k}`);
    out = shape.map((d, i) => (i === axis ? k : d));
  }
  ctx.set(0, dtype, out);
  ctx.set(1, "i64", out);
}

function inferUnique(ctx: InferContext) {
  const shape = ctx.shape(0);
  const u = ctx.fresh();
  let searched: Dim = shape === null ? ctx.fresh() : productDim(shape);
  if (ctx.attr("axis") === undefined) ctx.set(0, ctx.dtype(0), [u]);
  else if (shape === null) ctx.set(0, ctx.dtype(0), null);
  else {
    const axis = axisAttr(ctx, shape.length, 0);
    if (axis === null) return;
    searched = shape[axis]!;
    ctx.set(
      0,
      ctx.dtype(0),
      shape.map((d, i) => (i === axis ? u : d)),
    );
  }
  ctx.set(1, "i64", [u]);
  ctx.set(2, "i64", [searched]);
  ctx.set(3, "i64", [u]);
}

function inferCompress(ctx: InferContext) {
  const chosen = ctx.ints(1)?.filter((x) => x !== 0).length ?? ctx.fresh();
  if (ctx.attr("axis") === undefined) return ctx.set(0, ctx.dtype(0), [chosen]);
  const shape = ctx.shape(0);
  if (shape === null) return ctx.set(0, ctx.dtype(0), null);
  const axis = axisAttr(ctx, shape.length, 0);
  if (axis === null) return;
  ctx.set(
    0,
    ctx.dtype(0),
    shape.map((d, i) => (i === axis ? chosen : d)),
  );
}

const base = { domain: "", outputs: count(1) } as const;

/** Operators that pick, place or count elements by index. */
export const indexingOps: readonly OpSpec[] = [
  { ...base, op: "Gather", versions: [1, 11, 13], inputs: count(2), traits: MOVES, infer: inferGather },
  {
    ...base,
    op: "GatherElements",
    versions: [11, 13],
    inputs: count(2),
    traits: MOVES,
    infer: inferGatherElements,
  },
  { ...base, op: "GatherND", versions: [11, 12, 13], inputs: count(2), traits: MOVES, infer: inferGatherND },
  scatter("Scatter", [9, 11]),
  scatter("ScatterElements", [11, 13, 16, 18]),
  scatter("ScatterND", [11, 13, 16, 18]),
  scatter("TensorScatter", [24]),
  { ...base, op: "OneHot", versions: [9, 11], inputs: count(3), shapeInputs: [1], infer: inferOneHot },
  { ...base, op: "NonZero", versions: [9, 13], inputs: count(1), infer: inferNonZero },
  {
    ...base,
    op: "TopK",
    versions: [1, 10, 11, 24],
    inputs: count(1, 2),
    outputs: count(2),
    shapeInputs: [1],
    infer: inferTopK,
  },
  { ...base, op: "Unique", versions: [11], inputs: count(1), outputs: count(1, 4), infer: inferUnique },
  { ...base, op: "Compress", versions: [9, 11], inputs: count(2), traits: MOVES, infer: inferCompress },
];
