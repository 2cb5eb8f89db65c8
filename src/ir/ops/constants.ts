import { numbersOf } from "../constants.ts";
import { addDim, ceilDim, maxDim, ratioDim, subDim } from "../dim.ts";
import { type DType, dtypeOf } from "../dtype.ts";
import type { Dim } from "../types.ts";
import { followedSize, isFollowed, toElement } from "./data-rules.ts";
import { commonDType } from "./elementwise.ts";
import { count, freshShape, sameAs, setRank, vectorLength } from "./shape-rules.ts";
import type { InferContext, OpSpec } from "./spec.ts";

/** Element type named by an integer attribute (`dtype`, `to`, `output_dtype`); reports codes that are none. */
export function dtypeAttr(ctx: InferContext, name: string, fallback: DType | null = null): DType | null {
  const code = ctx.int(name, 0);
  if (code === 0) return fallback;
  const dtype = dtypeOf(code);
  if (dtype === null) ctx.invalid(`${name} is ${code}, which is no element type`);
  return dtype;
}

/** The Constant operator spells its value in one of seven attributes. */
function inferConstant(ctx: InferContext) {
  const { attrs } = ctx.node;
  for (const name of attrs.keys()) {
    const a = ctx.attr(name);
    if (a === undefined) continue;
    switch (name) {
      case "value":
        if (a.kind !== "tensor") return ctx.invalid(`value is ${a.kind}, expected tensor`);
        ctx.set(0, a.value.dtype, a.value.dims);
        {
          const data = isFollowed(a.value.dtype) ? numbersOf(a.value, 1024) : null;
          if (data !== null) ctx.setData(0, data);
        }
        return;
      case "sparse_value":
        if (a.kind === "sparse") ctx.set(0, a.value.values.dtype, a.value.dims);
        return;
      case "value_int":
        ctx.set(0, "i64", []);
        return ctx.setData(0, [ctx.int(name, 0)]);
      case "value_float":
        ctx.set(0, "f32", []);
        return ctx.setData(0, [ctx.float(name, 0)]);
      case "value_ints": {
        const values = ctx.ints_(name) ?? [];
        ctx.set(0, "i64", [values.length]);
        return ctx.setData(0, values);
      }
      case "value_floats":
        if (a.kind !== "floats") return ctx.invalid(`value_floats is ${a.kind}`);
        ctx.set(0, "f32", [a.value.length]);
        return ctx.setData(0, a.value);
      case "value_string":
        return ctx.set(0, "string", []);
      case "value_strings":
        return ctx.set(0, "string", a.kind === "strings" ? [a.value.length] : null);
    }
  }
  ctx.invalid("it has no value attribute");
}

function inferEyeLike(ctx: InferContext) {
  const code = ctx.attr("dtype");
  const shape = ctx.shape(0);
  if (shape !== null && shape.length !== 2) return ctx.invalid(`input has rank ${shape.length}, expected 2`);
  ctx.set(0, code?.kind === "int" ? dtypeAttr(ctx, "dtype") : ctx.dtype(0), shape ?? freshShape(ctx, 2));
}

function inferConstantOfShape(ctx: InferContext) {
  const value = ctx.attr("value");
  const dtype = value?.kind === "tensor" ? value.value.dtype : "f32";
  const dims = ctx.data(0);
  if (dims === null) {
    return setRank(ctx, 0, dtype, vectorLength(ctx, 0));
  }
  if (dims.some((d) => typeof d === "number" && d < 0))
    return ctx.invalid(`shape [${dims.join(", ")}] is negative`);
  ctx.set(0, dtype, dims);
  const size = followedSize(dims);
  if (size === null || !isFollowed(dtype)) return;
  const fill = value?.kind === "tensor" ? numbersOf(value.value, 1)?.[0] : 0;
  if (fill !== undefined) ctx.setData(0, new Array<Dim>(size).fill(fill));
}

function inferRange(ctx: InferContext) {
  const dtype = commonDType(ctx, [0, 1, 2]);
  const [start, limit, delta] = [ctx.data(0)?.[0], ctx.data(1)?.[0], ctx.data(2)?.[0]];
  if (start === undefined || limit === undefined || typeof delta !== "number" || delta === 0)
    return ctx.set(0, dtype, [ctx.fresh()]);
  const span = delta > 0 ? subDim(limit, start) : subDim(start, limit);
  const steps = ceilDim(ratioDim(span, Math.abs(delta)) ?? ctx.fresh());
  const length = maxDim(0, steps);
  ctx.set(0, dtype, [length]);
  if (typeof length !== "number" || length > 1024 || dtype === null) return;
  ctx.setData(
    0,
    Array.from({ length }, (_, i) => toElement(addDim(start, i * delta), dtype) ?? ctx.fresh()),
  );
}

const base = { domain: "", outputs: count(1) } as const;

/** Operators that make tensors from attributes or shapes. */
export const constantsOps: readonly OpSpec[] = [
  {
    ...base,
    op: "Constant",
    versions: [1, 9, 11, 12, 13, 19, 21, 23, 24, 25],
    inputs: count(0),
    infer: inferConstant,
  },
  {
    ...base,
    op: "ConstantOfShape",
    versions: [9, 20, 21, 23, 24, 25],
    inputs: count(1),
    shapeInputs: [0],
    infer: inferConstantOfShape,
  },
  { ...base, op: "EyeLike", versions: [9, 22], inputs: count(1), infer: inferEyeLike },
  { ...base, op: "Range", versions: [11], inputs: count(3), shapeInputs: [0, 1, 2], infer: inferRange },
  {
    ...base,
    op: "Trilu",
    versions: [14],
    inputs: count(1, 2),
    shapeInputs: [1],
    infer: (ctx) => sameAs(ctx, 0),
  },
];
