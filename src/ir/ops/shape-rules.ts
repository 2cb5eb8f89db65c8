import { addDim, isUnknown, maxDim, minDim } from "../dim.ts";
import type { DType } from "../dtype.ts";
import type { Dim, Shape } from "../types.ts";
import type { InferContext, OpSpec } from "./spec.ts";

/** Axis in `[0, rank)`, or `null` when it is out of range. */
export function normalizeAxis(axis: number, rank: number): number | null {
  const a = axis < 0 ? axis + rank : axis;
  return Number.isInteger(a) && a >= 0 && a < rank ? a : null;
}

/** Axes in `[0, rank)`, or `null` when one is out of range or named twice. */
export function normalizeAxes(axes: readonly number[], rank: number): number[] | null {
  const out: number[] = [];
  for (const axis of axes) {
    const a = normalizeAxis(axis, rank);
    if (a === null || out.includes(a)) return null;
    out.push(a);
  }
  return out;
}

/** Axis attribute of the node in `[0, rank)`; reports and returns `null` when it is out of range. */
export function axisAttr(ctx: InferContext, rank: number, fallback: number, name = "axis"): number | null {
  const raw = ctx.int(name, fallback);
  const axis = normalizeAxis(raw, rank);
  if (axis === null) ctx.invalid(`${name} ${raw} is out of range for rank ${rank}`);
  return axis;
}

/**
 * Axes given by an attribute in old opsets and by an input in new ones. `undefined`: neither is present;
 * `null`: they are there, but their values are not known.
 */
export function axesOf(
  ctx: InferContext,
  input: number,
  attr = "axes",
): readonly number[] | null | undefined {
  const listed = ctx.ints_(attr);
  if (listed !== undefined) return listed;
  if (!hasInput(ctx, input)) return undefined;
  return ctx.ints(input);
}

/** True when input `i` is there (an empty name is not). */
export function hasInput(ctx: InferContext, i: number): boolean {
  const id = ctx.node.inputs[i];
  return id !== undefined && id !== null;
}

/** `rank` unknown dims. */
export function freshShape(ctx: InferContext, rank: number): Dim[] {
  return Array.from({ length: rank }, () => ctx.fresh());
}

/** Output `o` gets the type of input `i`. */
export function sameAs(ctx: InferContext, i: number, o = 0): void {
  ctx.setType(o, ctx.type(i));
}

/** Two dims that must be equal, as one: a number wins over a symbol, a symbol over an unknown. `null`: they differ. */
export function mergeDim(a: Dim, b: Dim): Dim | null {
  if (a === b) return a;
  if (typeof a === "number") return typeof b === "number" ? null : a;
  if (typeof b === "number") return b;
  return isUnknown(a) && !isUnknown(b) ? b : a;
}

/**
 * One axis of a broadcast. 1 gives way; a number above 1 wins over any symbol; equal symbols stay. Different symbols are
 * equal at run time, or one of them is 1: the longer one is the result. `null`: not broadcastable.
 */
export function broadcastDim(ctx: InferContext, a: Dim, b: Dim): Dim | null {
  if (a === b || b === 1) return a;
  if (a === 1) return b;
  if (typeof a === "number") return typeof b === "number" ? null : a;
  if (typeof b === "number") return b;
  // A symbol of the model is taken to be larger than 1 next to an unknown: exporters lose sizes, not broadcasts.
  if (isUnknown(a) !== isUnknown(b)) return isUnknown(a) ? b : a;
  return isUnknown(a) ? ctx.fresh() : (longerDim(a, b) ?? maxDim(a, b));
}

/**
 * Where one dim is never longer than the other, the longer one is the broadcast: they are equal, or the shorter is 1.
 * This is how a table cut to the sequence length, min(77, sequence), meets the sequence.
 */
function longerDim(a: Dim, b: Dim): Dim | null {
  if (minDim(a, b) === a || maxDim(a, b) === b) return b;
  return minDim(a, b) === b || maxDim(a, b) === a ? a : null;
}

/** Shape of a numpy-style broadcast; `null` when a rank is unknown or the shapes do not fit (reported). */
export function broadcast(ctx: InferContext, shapes: readonly Shape[]): Shape {
  let out: Dim[] | null = null;
  for (const shape of shapes) {
    if (shape === null) return null;
    if (out === null) {
      out = [...shape];
      continue;
    }
    const long: readonly Dim[] = shape.length > out.length ? shape : out;
    const short: readonly Dim[] = long === shape ? out : shape;
    const merged: Dim[] = [...long];
    for (let i = 0; i < short.length; i++) {
      const at = long.length - short.length + i;
      const d = broadcastDim(ctx, long[at]!, short[i]!);
      if (d === null) {
        ctx.invalid(`shapes [${out.join(", ")}] and [${shape.join(", ")}] do not broadcast`);
        return null;
      }
      merged[at] = d;
    }
    out = merged;
  }
  return out;
}

/**
 * Shape after reducing `axes`. `undefined` axes reduce all (or none, with `noop`); `null` axes are unknown values, of
 * which `count` may be known. Reports axes that are out of range.
 */
export function reduceShape(
  ctx: InferContext,
  shape: Shape,
  options: {
    readonly axes: readonly number[] | null | undefined;
    readonly keepDims: boolean;
    readonly noop?: boolean;
    readonly count?: number | null;
  },
): Shape {
  if (shape === null) return null;
  const { axes, keepDims } = options;
  if (axes === null) {
    if (keepDims) return freshShape(ctx, shape.length);
    const count = options.count ?? null;
    return count === null || count > shape.length ? null : freshShape(ctx, shape.length - count);
  }
  if (axes === undefined || axes.length === 0) {
    if (options.noop === true) return shape;
    return keepDims ? shape.map(() => 1) : [];
  }
  const drop = normalizeAxes(axes, shape.length);
  if (drop === null) {
    ctx.invalid(`axes [${axes.join(", ")}] do not fit rank ${shape.length}`);
    return null;
  }
  return keepDims
    ? shape.map((d, i) => (drop.includes(i) ? 1 : d))
    : shape.filter((_, i) => !drop.includes(i));
}

/** Reports and returns `null` unless the rank of input `i` is within bounds; also `null` for an unknown rank. */
export function shapeOfRank(
  ctx: InferContext,
  i: number,
  min: number,
  max = Number.POSITIVE_INFINITY,
): readonly Dim[] | null {
  const shape = ctx.shape(i);
  if (shape === null) return null;
  if (shape.length >= min && shape.length <= max) return shape;
  const want =
    max === min ? `${min}` : max === Number.POSITIVE_INFINITY ? `at least ${min}` : `${min} to ${max}`;
  ctx.invalid(`input ${i} has rank ${shape.length}, expected ${want}`);
  return null;
}

/** Sum of the dims along the concatenation axis. */
export function sumDims(dims: readonly Dim[]): Dim {
  let out: Dim = 0;
  for (const d of dims) out = addDim(out, d);
  return out;
}

/** Bounds of an arity: `count(2)` is exactly two, `count(1, 3)` one to three. */
export function count(min: number, max = min): OpSpec["inputs"] {
  return { min, max };
}

/** No upper bound on the number of inputs or outputs. */
export const MANY = Number.POSITIVE_INFINITY;

/** Highest rank taken from the length of a shape input; longer ones are hostile or dynamic. */
const MAX_RANK = 64;

/** Length of a vector input, for ops whose output rank it gives; `null` when it is open or absurd. */
export function vectorLength(ctx: InferContext, i: number): number | null {
  const shape = ctx.shape(i);
  const n = shape?.length === 1 ? shape[0] : null;
  return typeof n === "number" && n <= MAX_RANK ? n : null;
}

/** Sets output `o` to a tensor whose rank is known but nothing else. */
export function setRank(ctx: InferContext, o: number, dtype: DType | null, rank: number | null): void {
  ctx.set(o, dtype, rank === null ? null : freshShape(ctx, rank));
}

/** Elements of a fully known shape; `null` for none. */
export function elements(shape: readonly number[] | null | undefined): number | null {
  if (shape === null || shape === undefined) return null;
  let n = 1;
  for (const d of shape) n *= d;
  return n;
}
