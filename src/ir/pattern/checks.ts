import { scalarOf, uniformOf } from "../constants.ts";
import { elementCount } from "../dtype.ts";
import type { Node, ValueId } from "../graph.ts";
import type { Dim } from "../types.ts";
import { type ConstRef, intOr, intsAt, type MatchScope, meansScalar, scalarAt } from "./constant.ts";
import type { Check } from "./pattern.ts";

/** The constant is one number meaning `want`. */
export function means(want: number): Check<ConstRef> {
  return (c) => {
    const got = scalarOf(c.tensor);
    if (got === null) return `expected the scalar ${want}, found ${c.dtype}[${c.dims}]`;
    return meansScalar(c.dtype, got, want) ? null : `expected the scalar ${want}, found ${got}`;
  };
}

/** The constant is one positive number below 1: an epsilon. */
export const isEpsilon: Check<ConstRef> = (c) => {
  const got = scalarOf(c.tensor);
  return got !== null && got >= 0 && got < 1
    ? null
    : `expected a small epsilon, found ${got ?? c.dims.join("x")}`;
};

/** Every element of the constant equals `want`. */
export function uniformly(want: number): Check<ConstRef> {
  return (c) => (uniformOf(c.tensor) === want ? null : `expected all elements to be ${want}`);
}

/** The value has a single element. */
export const isScalar: Check<ValueId> = (v, scope) => {
  if (scalarAt(scope, v) !== null) return null;
  const dims = scope.shapes?.staticShape(v) ?? null;
  return dims !== null && elementCount(dims) === 1 ? null : "expected a single number";
};

/** The reduction keeps its axes. */
export const keepsDims: Check<Node> = (n) =>
  intOr(n, "keepdims", 1) === 1 ? null : `${n.op} drops its axes`;

/** The softmax runs over the last axis. */
export const overLastAxis: Check<Node> = (n, scope) => {
  const input = n.inputs[0];
  const rank = input === null || input === undefined ? undefined : scope.shapes?.shape(input)?.length;
  const axis = n.attrs.has("axis") ? intOr(n, "axis", -1) : null;
  // Without the attribute the axis is 1 before opset 13 and -1 since; both are the last one of a matrix.
  if (axis === -1 || axis === null || (rank !== undefined && axis === rank - 1)) return null;
  return `softmax over axis ${axis}${rank === undefined ? "" : ` of ${rank}`}`;
};

/** True when the permutation swaps the last two axes and keeps the others. */
export function swapsLastTwo(perm: readonly number[]): boolean {
  const r = perm.length;
  return r >= 2 && perm.every((p, i) => p === (i === r - 2 ? r - 1 : i === r - 1 ? r - 2 : i));
}

/** Permutation of a Transpose; the default reverses the axes. */
export function permOf(scope: MatchScope, node: Node): readonly number[] | null {
  const perm = intsAt(node, "perm");
  if (perm !== null) return perm;
  const input = node.inputs[0];
  const rank = input === null || input === undefined ? undefined : scope.shapes?.shape(input)?.length;
  return rank === undefined ? null : Array.from({ length: rank }, (_, i) => rank - 1 - i);
}

/** Same axes lengths, symbolic ones compared as text. */
export function sameShape(a: readonly Dim[] | null, b: readonly Dim[] | null): boolean {
  return a !== null && b !== null && a.length === b.length && a.every((d, i) => d === b[i]);
}

/**
 * Why a constant is not a per-axis parameter of a tensor of rank `rank`, or `null` when it is: aligned to the right it
 * may differ from 1 only on `axes`, where it has the tensor's length.
 */
export function notAlong(
  c: ConstRef,
  axes: readonly number[],
  shape: readonly Dim[] | null,
  rank: number,
): string | null {
  const offset = rank - c.dims.length;
  if (offset < 0) return `the constant has ${c.dims.length} axes, the tensor ${rank}`;
  let count = 1;
  for (const [i, d] of c.dims.entries()) {
    if (d === 1) continue;
    count *= d;
    if (!axes.includes(i + offset)) return `the constant [${c.dims}] varies along axis ${i + offset}`;
    const want = shape?.[i + offset];
    if (typeof want === "number" && want !== d)
      return `the constant [${c.dims}] does not fit axis ${i + offset}`;
  }
  const single = axes.every((a) => shape?.[a] === 1);
  return count > 1 || single ? null : "the constant is a single number";
}
