import { type DType, dtypeOf } from "../dtype.ts";
import type { Dim, Shape, ValueType } from "../types.ts";
import type { InferContext } from "./spec.ts";

/**
 * The narrowest type that covers both: dims that differ become unknown, ranks that differ an unknown rank. `null` when
 * the kinds or element types differ, or one of the types is unknown. Dims of `a` in `own` already stand for anything and
 * stay; new unknowns are added to it.
 */
export function joinTypes(
  ctx: InferContext,
  a: ValueType | null,
  b: ValueType | null,
  own?: Set<Dim>,
): ValueType | null {
  if (a === null || b === null) return null;
  switch (a.kind) {
    case "tensor":
    case "sparse":
      if (b.kind !== a.kind || b.dtype !== a.dtype) return null;
      return { kind: a.kind, dtype: a.dtype, shape: joinShapes(ctx, a.shape, b.shape, own) };
    case "sequence":
    case "optional": {
      if (b.kind !== a.kind) return null;
      const element = joinTypes(ctx, a.element, b.element, own);
      return element === null ? null : { kind: a.kind, element };
    }
    case "map":
      return b.kind === "map" && b.key === a.key ? a : null;
    case "opaque":
      return b.kind === "opaque" && b.domain === a.domain && b.name === a.name ? a : null;
  }
}

/** Shape part of {@link joinTypes}. */
function joinShapes(ctx: InferContext, a: Shape, b: Shape, own?: Set<Dim>): Shape {
  if (a === null || b === null || a.length !== b.length) return null;
  return a.map((d, i): Dim => {
    if (d === b[i] || own?.has(d) === true) return d;
    const unknown = ctx.fresh();
    own?.add(unknown);
    return unknown;
  });
}

/** True when two types are the same, dims compared as text. */
export function sameType(a: ValueType | null, b: ValueType | null): boolean {
  if (a === null || b === null) return a === b;
  switch (a.kind) {
    case "tensor":
    case "sparse":
      if (b.kind !== a.kind || a.dtype !== b.dtype) return false;
      if (a.shape === null || b.shape === null) return a.shape === b.shape;
      return a.shape.length === b.shape.length && a.shape.every((d, i) => d === b.shape?.[i]);
    case "sequence":
    case "optional":
      return b.kind === a.kind && sameType(a.element, b.element);
    case "map":
      return b.kind === "map" && a.key === b.key && sameType(a.value, b.value);
    case "opaque":
      return b.kind === "opaque" && a.domain === b.domain && a.name === b.name;
  }
}

/** Element type of a dtype attribute; reports codes that are not element types and returns the fallback. */
export function dtypeAttr(ctx: InferContext, name: string, fallback: DType | null): DType | null {
  if (ctx.attr(name) === undefined) return fallback;
  const code = ctx.int(name, 0);
  const dtype = dtypeOf(code);
  if (dtype === null) ctx.invalid(`attribute ${name} is ${code}, which is not an element type`);
  return dtype ?? fallback;
}

/** The one number of input `i` as a dim; an unknown dim when it is not known. */
export function dimInput(ctx: InferContext, i: number): Dim {
  const data = ctx.data(i);
  const d = data?.length === 1 ? data[0] : undefined;
  return d === undefined ? ctx.fresh() : d;
}
