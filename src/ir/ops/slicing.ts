import { addDim, atLeast, ceilDivDim, divDim, maxDim, minDim, negDim, subDim } from "../dim.ts";
import type { Dim } from "../types.ts";
import { followedSize, isFollowed, rearrangeData } from "./data-rules.ts";
import { commonDType } from "./elementwise.ts";
import {
  axisAttr,
  count,
  freshShape,
  hasInput,
  MANY,
  mergeDim,
  normalizeAxes,
  setRank,
  sumDims,
  vectorLength,
} from "./shape-rules.ts";
import type { InferContext, OpSpec, OpTrait } from "./spec.ts";

const MOVES: readonly OpTrait[] = ["moves-data"];
/** Slice bounds at least this far out mean "to the end", whatever the length. */
const UNBOUNDED = 2 ** 31 - 1;

function inferConcat(ctx: InferContext) {
  const all = ctx.node.inputs.map((_, i) => i);
  const dtype = commonDType(ctx, all);
  const known = all.map((i) => ctx.shape(i));
  const rank = known.find((s) => s !== null)?.length;
  if (rank === undefined) return ctx.set(0, dtype, null);
  const axis = axisAttr(ctx, rank, ctx.opset < 4 ? 1 : 0);
  if (axis === null) return;
  const out: Dim[] = [];
  for (let k = 0; k < rank; k++) {
    if (k === axis) {
      out.push(known.every((s) => s?.length === rank) ? sumDims(known.map((s) => s![k]!)) : ctx.fresh());
      continue;
    }
    let dim: Dim | null = null;
    for (const s of known) {
      if (s === null) continue;
      if (s.length !== rank) return ctx.invalid(`inputs of rank ${rank} and ${s.length} cannot be joined`);
      const merged: Dim | null = dim === null ? s[k]! : mergeDim(dim, s[k]!);
      if (merged === null)
        return ctx.invalid(`axis ${k} has lengths ${dim} and ${s[k]}, which must be equal`);
      dim = merged;
    }
    out.push(dim!);
  }
  ctx.set(0, dtype, out);
  if (axis === 0 && isFollowed(dtype)) concatData(ctx, all, out);
}

/** Joins values along axis 0; parts that are not known become unknown elements. */
function concatData(ctx: InferContext, all: readonly number[], out: readonly Dim[]) {
  if (followedSize(out) === null || all.every((i) => ctx.data(i) === null)) return;
  const values: Dim[] = [];
  for (const i of all) values.push(...(ctx.data(i) ?? freshShape(ctx, followedSize(ctx.shape(i)) ?? 0)));
  ctx.setData(0, values);
}

function inferSplit(ctx: InferContext) {
  const shape = ctx.shape(0);
  const dtype = ctx.dtype(0);
  const n = ctx.node.outputs.length;
  if (shape === null) {
    for (let i = 0; i < n; i++) ctx.set(i, dtype, null);
    return;
  }
  const axis = axisAttr(ctx, shape.length, 0);
  if (axis === null) return;
  const whole = shape[axis]!;
  const sizes = splitSizes(ctx, whole, n);
  if (sizes === null) return;
  let at: Dim = 0;
  const data = shape.length === 1 ? ctx.data(0) : null;
  for (let i = 0; i < n; i++) {
    const size = sizes[i]!;
    ctx.set(
      i,
      dtype,
      shape.map((d, k) => (k === axis ? size : d)),
    );
    if (data !== null && typeof at === "number" && typeof size === "number")
      ctx.setData(i, data.slice(at, at + size));
    at = addDim(at, size);
  }
}

/** Lengths of the parts; the last one is shorter when the axis does not divide evenly (opset 18). */
function splitSizes(ctx: InferContext, whole: Dim, n: number): readonly Dim[] | null {
  const given = ctx.ints_("split") ?? (hasInput(ctx, 1) ? ctx.data(1) : undefined);
  if (given === null) return freshShape(ctx, n);
  if (given !== undefined && given.length > 0) {
    if (given.length !== n) {
      ctx.invalid(`${given.length} lengths for ${n} outputs`);
      return null;
    }
    const sum = sumDims(given);
    if (typeof sum === "number" && typeof whole === "number" && sum !== whole) {
      ctx.invalid(`lengths [${given.join(", ")}] do not add up to ${whole}`);
      return null;
    }
    return given;
  }
  const parts = ctx.int("num_outputs", n);
  const each = ctx.opset < 18 ? divDim(whole, parts) : ceilDivDim(whole, parts);
  return Array.from({ length: n }, (_, i) => {
    if (i < parts - 1 || parts === 1) return i === 0 && parts === 1 ? whole : each;
    const left = subDim(whole, typeof each === "number" ? each * (parts - 1) : productOf(each, parts - 1));
    return typeof left === "number" ? Math.max(left, 0) : left;
  });
}

function productOf(d: Dim, k: number): Dim {
  let out: Dim = 0;
  for (let i = 0; i < k && i < 64; i++) out = addDim(out, d);
  return out;
}

interface Range {
  readonly length: Dim;
  /** First index, when it is a number. */
  readonly start: number | null;
  readonly step: number;
}

/** A bound of a slice as an offset from the front; `null` when its sign is open. */
function offset(bound: Dim, dim: Dim): Dim | null {
  if (typeof bound === "number") return bound < 0 ? addDim(dim, bound) : bound;
  if (atLeast(bound, 0)) return bound;
  return atLeast(negDim(bound), 1) ? addDim(dim, bound) : null;
}

/** Length and start of `x[start:end:step]` on an axis; Slice-1 to Slice-13 clamp as numpy does. */
function sliceRange(dim: Dim, start: Dim, end: Dim, step: number): Range | null {
  const forward = step > 0;
  const first = forward ? 0 : -1;
  const last = forward ? dim : subDim(dim, 1);
  const clamp = (bound: Dim, low: Dim): Dim | null => {
    if (typeof bound === "number" && bound >= UNBOUNDED) return last;
    if (typeof bound === "number" && bound <= -UNBOUNDED) return low;
    const at = offset(bound, dim);
    return at === null ? null : maxDim(low, minDim(at, last));
  };
  const s = clamp(start, 0);
  const e = clamp(end, first);
  if (s === null || e === null) return null;
  const span = forward ? subDim(e, s) : subDim(s, e);
  const length = maxDim(0, ceilDivDim(span, Math.abs(step)));
  return { length, start: typeof s === "number" ? s : null, step };
}

function inferSlice(ctx: InferContext) {
  const shape = ctx.shape(0);
  if (shape === null) return ctx.set(0, ctx.dtype(0), null);
  const old = ctx.opset < 10;
  const starts = old ? (ctx.ints_("starts") ?? null) : ctx.data(1);
  const ends = old ? (ctx.ints_("ends") ?? null) : ctx.data(2);
  const listed = old ? ctx.ints_("axes") : hasInput(ctx, 3) ? ctx.ints(3) : undefined;
  const steps = old || !hasInput(ctx, 4) ? undefined : ctx.ints(4);
  if (listed === null) return setRank(ctx, 0, ctx.dtype(0), shape.length);
  const bounds =
    starts?.length ?? ends?.length ?? steps?.length ?? vectorLength(ctx, 1) ?? vectorLength(ctx, 2);
  const count = listed?.length ?? bounds;
  if (count === undefined || count === null) return setRank(ctx, 0, ctx.dtype(0), shape.length);
  const axes = normalizeAxes(listed ?? Array.from({ length: count }, (_, i) => i), shape.length);
  if (axes === null) return ctx.invalid(`axes do not fit rank ${shape.length}`);
  for (const list of [starts, ends, steps])
    if (list !== null && list !== undefined && list.length !== axes.length)
      return ctx.invalid(`${list.length} bounds for ${axes.length} axes`);
  const ranges = new Map<number, Range>();
  const out = [...shape];
  for (const [i, axis] of axes.entries()) {
    const step = steps === undefined ? 1 : (steps?.[i] ?? null);
    if (step === 0) return ctx.invalid("a step is 0");
    const s = starts?.[i];
    const e = ends?.[i];
    const range =
      step === null || s === undefined || e === undefined ? null : sliceRange(shape[axis]!, s, e, step);
    out[axis] = range?.length ?? ctx.fresh();
    if (range !== null) ranges.set(axis, range);
  }
  ctx.set(0, ctx.dtype(0), out);
  if (ctx.data(0) === null || ranges.size !== axes.length) return;
  if ([...ranges.values()].some((r) => r.start === null)) return;
  rearrangeData(ctx, out, (index, axis) => {
    const r = ranges.get(axis);
    return r === undefined ? index[axis]! : r.start! + index[axis]! * r.step;
  });
}

function inferPad(ctx: InferContext) {
  const shape = ctx.shape(0);
  if (shape === null) return ctx.set(0, ctx.dtype(0), null);
  const pads = ctx.opset < 11 ? (ctx.ints_("pads") ?? ctx.ints_("paddings") ?? null) : ctx.data(1);
  const listed = hasInput(ctx, 3) ? ctx.ints(3) : undefined;
  if (pads === null || listed === null) return setRank(ctx, 0, ctx.dtype(0), shape.length);
  const axes = listed === undefined ? shape.map((_, i) => i) : normalizeAxes(listed, shape.length);
  if (axes === null) return ctx.invalid(`axes do not fit rank ${shape.length}`);
  if (pads.length !== 2 * axes.length) return ctx.invalid(`${pads.length} pads for ${axes.length} axes`);
  const out = [...shape];
  for (const [i, axis] of axes.entries()) {
    out[axis] = addDim(addDim(shape[axis]!, pads[i]!), pads[i + axes.length]!);
    if (typeof out[axis] === "number" && out[axis] < 0)
      return ctx.invalid(`pads remove more than axis ${axis} has`);
  }
  ctx.set(0, ctx.dtype(0), out);
}

const base = { domain: "", traits: MOVES } as const;

/** Operators that cut tensors apart or put them together. */
export const slicingOps: readonly OpSpec[] = [
  {
    ...base,
    op: "Concat",
    versions: [1, 4, 11, 13],
    inputs: count(1, MANY),
    outputs: count(1),
    infer: inferConcat,
  },
  {
    ...base,
    op: "Split",
    versions: [1, 2, 11, 13, 18],
    inputs: count(1, 2),
    outputs: count(1, MANY),
    shapeInputs: [1],
    infer: inferSplit,
  },
  {
    ...base,
    op: "Slice",
    versions: [1, 10, 11, 13],
    inputs: count(1, 5),
    outputs: count(1),
    shapeInputs: [1, 2, 3, 4],
    infer: inferSlice,
  },
  {
    ...base,
    op: "Pad",
    versions: [1, 2, 11, 13, 18, 19, 21, 23, 24, 25],
    inputs: count(1, 4),
    outputs: count(1),
    shapeInputs: [1, 3],
    infer: inferPad,
  },
];
