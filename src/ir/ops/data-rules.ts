import {
  addDim,
  atLeast,
  divDim,
  equalDim,
  floorDim,
  isInteger,
  maxDim,
  minDim,
  modDim,
  mulDim,
  ratioDim,
  subDim,
} from "../dim.ts";
import type { DType } from "../dtype.ts";
import type { Dim } from "../types.ts";
import type { InferContext } from "./spec.ts";

/** Most elements of a tensor whose values are followed. */
const MAX_ELEMENTS = 1024;

/** Largest magnitude of a followed value, per dtype; other dtypes are not followed (they wrap or round). */
const FOLLOWED: Partial<Record<DType, number>> = {
  i64: Number.MAX_SAFE_INTEGER,
  u64: Number.MAX_SAFE_INTEGER,
  i32: 2 ** 31,
  u32: 2 ** 32,
  bool: 1,
  f32: 2 ** 100,
  f64: 2 ** 200,
};

/** True when values of this dtype are followed through shape arithmetic. */
export function isFollowed(dtype: DType | null): dtype is DType {
  return dtype !== null && FOLLOWED[dtype] !== undefined;
}

/** A value as an element of `dtype`; `null` when it would overflow. */
export function toElement(value: Dim | null, dtype: DType): Dim | null {
  if (value === null || typeof value === "string") return value;
  if (!(Math.abs(value) <= FOLLOWED[dtype]!)) return null;
  return dtype === "f32" ? Math.fround(value) : value;
}

/** Number of elements when the shape is fully known and small enough to follow, else `null`. */
export function followedSize(shape: readonly Dim[] | null): number | null {
  if (shape === null) return null;
  let n = 1;
  for (const d of shape) {
    if (typeof d !== "number" || d < 0) return null;
    n *= d;
  }
  return n <= MAX_ELEMENTS ? n : null;
}

/** Strides of `shape` when it is broadcast to `to`: 0 where it repeats. Dims are numbers. */
function broadcastStrides(shape: readonly number[], to: readonly number[]): number[] {
  const strides = new Array<number>(to.length).fill(0);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    const at = to.length - shape.length + i;
    strides[at] = shape[i] === 1 ? 0 : step;
    step *= shape[i]!;
  }
  return strides;
}

/** Elements of `data` after a broadcast of `shape` to `to`. */
export function broadcastData(
  data: readonly Dim[],
  shape: readonly number[],
  to: readonly number[],
): readonly Dim[] {
  const total = to.reduce((a, b) => a * b, 1);
  if (data.length === total) return data;
  if (data.length === 1) return new Array<Dim>(total).fill(data[0]!);
  const strides = broadcastStrides(shape, to);
  const out: Dim[] = [];
  for (let n = 0; n < total; n++) {
    let rest = n;
    let at = 0;
    for (let i = to.length - 1; i >= 0; i--) {
      at += (rest % to[i]!) * strides[i]!;
      rest = Math.floor(rest / to[i]!);
    }
    out.push(data[at]!);
  }
  return out;
}

/** True when `from` broadcasts to `to`, both fully known (old opsets and malformed nodes may have it otherwise). */
function fits(from: readonly Dim[], to: readonly Dim[]): boolean {
  const shift = to.length - from.length;
  return shift >= 0 && from.every((d, i) => d === 1 || d === to[i + shift]);
}

/**
 * Follows an elementwise op over the inputs' values: sets output 0's data when all of them and the output shape are
 * known. `f` returns `null` for an element it cannot say anything about.
 */
export function followElementwise(
  ctx: InferContext,
  inputs: readonly number[],
  shape: readonly Dim[] | null,
  dtype: DType | null,
  f: (...elements: Dim[]) => Dim | null,
): void {
  if (!isFollowed(dtype)) return;
  const size = followedSize(shape);
  if (size === null) return;
  const lists: (readonly Dim[])[] = [];
  for (const i of inputs) {
    const data = ctx.data(i);
    const from = ctx.shape(i);
    if (data === null || followedSize(from) !== data.length || !fits(from!, shape!)) return;
    lists.push(broadcastData(data, from as readonly number[], shape as readonly number[]));
  }
  const out: Dim[] = [];
  for (let n = 0; n < size; n++) out.push(toElement(f(...lists.map((l) => l[n]!)), dtype) ?? ctx.fresh());
  ctx.setData(0, out);
}

const isReal = (dtype: DType | null): boolean => dtype === "f32" || dtype === "f64";

/** Arithmetic on followed values. Integer division truncates, so it needs operands of known sign. */
export const ARITHMETIC: Readonly<Record<string, (a: Dim, b: Dim, dtype: DType) => Dim | null>> = {
  Add: addDim,
  Sub: subDim,
  Mul: mulDim,
  Div: (a, b, dtype) => {
    if (isReal(dtype)) return ratioDim(a, b);
    if (typeof a === "number" && typeof b === "number") return b === 0 ? null : Math.trunc(a / b);
    return atLeast(a, 0) && atLeast(b, 1) ? divDim(a, b) : null;
  },
  Mod: (a, b, dtype) => {
    if (isReal(dtype)) return typeof a === "number" && typeof b === "number" && b !== 0 ? a % b : null;
    if (b === 0) return null;
    return (typeof a === "number" && typeof b === "number") || (atLeast(a, 0) && atLeast(b, 1))
      ? modDim(a, b)
      : null;
  },
  Min: minDim,
  Max: maxDim,
  Pow: (a, b) => {
    if (typeof b !== "number") return null;
    if (typeof a === "number") return a ** b;
    if (!Number.isInteger(b) || b < 0 || b > 8) return null;
    let out: Dim = 1;
    for (let i = 0; i < b; i++) out = mulDim(out, a);
    return out;
  },
  Equal: (a, b) => {
    if (equalDim(a, b)) return 1;
    if (typeof a === "number" && typeof b === "number") return 0;
    return atLeast(a, addDim(b, 1)) || atLeast(b, addDim(a, 1)) ? 0 : null;
  },
  Greater: (a, b) => order(b, a),
  Less: (a, b) => order(a, b),
  GreaterOrEqual: (a, b) => not(order(a, b)),
  LessOrEqual: (a, b) => not(order(b, a)),
  And: (a, b) => (a === 0 || b === 0 ? 0 : a === 1 && b === 1 ? 1 : null),
  Or: (a, b) => (a === 1 || b === 1 ? 1 : a === 0 && b === 0 ? 0 : null),
  Xor: (a, b) => (typeof a === "number" && typeof b === "number" ? (a !== b ? 1 : 0) : null),
};

/** 1 when `a < b` is certain, 0 when `a >= b` is, `null` otherwise. */
function order(a: Dim, b: Dim): number | null {
  if (typeof a === "number" && typeof b === "number") return a < b ? 1 : 0;
  if (atLeast(a, b)) return 0;
  return isInteger(a) && isInteger(b) && atLeast(b, addDim(a, 1)) ? 1 : null;
}

function not(x: number | null): number | null {
  return x === null ? null : 1 - x;
}

/** A followed value after a Cast; `null` when nothing can be said. */
export function castElement(value: Dim, from: DType, to: DType): Dim | null {
  if (to === "bool") {
    if (typeof value === "number") return value === 0 ? 0 : 1;
    return atLeast(value, 1) ? 1 : null;
  }
  if (isReal(from) && !isReal(to)) {
    if (typeof value === "number") return Number.isFinite(value) ? Math.trunc(value) : null;
    if (isInteger(value)) return value;
    return atLeast(value, 0) ? floorDim(value) : null;
  }
  return value;
}

/** Hands the values of input `i` on to output `o` unchanged (reshapes and copies keep the row-major order). */
export function passData(ctx: InferContext, i = 0, o = 0): void {
  const data = ctx.data(i);
  if (data !== null) ctx.setData(o, data);
}

/** Row-major strides of a shape. */
function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1]! * shape[i + 1]!;
  return strides;
}

/** Calls `visit` with every index of a shape in row-major order; the array is reused. */
function eachIndex(shape: readonly number[], visit: (index: readonly number[]) => void): void {
  let total = 1;
  for (const d of shape) total *= d;
  const index = new Array<number>(shape.length).fill(0);
  for (let n = 0; n < total; n++) {
    visit(index);
    for (let i = shape.length - 1; i >= 0; i--) {
      if (++index[i]! < shape[i]!) break;
      index[i] = 0;
    }
  }
}

/**
 * Data of output 0 as a rearrangement of input 0's: element `index` of the output is the element of the input that
 * `source` names. Does nothing when either is not known or too large.
 */
export function rearrangeData(
  ctx: InferContext,
  out: readonly Dim[] | null,
  source: (index: readonly number[], axis: number) => number,
): void {
  const data = ctx.data(0);
  const shape = ctx.shape(0);
  if (data === null || followedSize(shape) !== data.length || followedSize(out) === null) return;
  const strides = stridesOf(shape as readonly number[]);
  const values: Dim[] = [];
  eachIndex(out as readonly number[], (index) => {
    let at = 0;
    for (let axis = 0; axis < strides.length; axis++) at += source(index, axis) * strides[axis]!;
    values.push(data[at]!);
  });
  ctx.setData(0, values);
}
