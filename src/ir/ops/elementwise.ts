import { atLeast, ceilDim, floorDim, maxDim, minDim, negDim } from "../dim.ts";
import { DTYPES, type DType, dtypeOf } from "../dtype.ts";
import type { Dim } from "../types.ts";
import { ARITHMETIC, castElement, followElementwise, isFollowed } from "./data-rules.ts";
import { broadcast, count, hasInput, MANY } from "./shape-rules.ts";
import type { InferContext, OpSpec, OpTrait } from "./spec.ts";

type Versions = readonly number[];

/** Common dtype of the inputs that must agree; reports and returns `null` when they do not. */
export function commonDType(ctx: InferContext, inputs: readonly number[]): DType | null {
  let found: DType | null = null;
  for (const i of inputs) {
    const d = ctx.dtype(i);
    if (d === null) continue;
    if (found !== null && d !== found) {
      ctx.invalid(`inputs have types ${found} and ${d}, which must be equal`);
      return null;
    }
    found = d;
  }
  return found;
}

/** One input, output of the same shape; `result` is the output dtype where it is not the input's. */
export function unary(
  op: string,
  versions: Versions,
  extra: {
    readonly result?: DType;
    readonly data?: (x: Dim) => Dim | null;
    readonly inputs?: OpSpec["inputs"];
  } = {},
): OpSpec {
  return {
    op,
    domain: "",
    versions,
    inputs: extra.inputs ?? count(1),
    outputs: count(1),
    traits: ["elementwise"],
    infer(ctx) {
      const dtype = extra.result ?? ctx.dtype(0);
      ctx.set(0, dtype, ctx.shape(0));
      if (extra.data !== undefined) followElementwise(ctx, [0], ctx.shape(0), dtype, extra.data);
    },
  };
}

/** Two broadcast inputs. Below opset 7 the second input is stretched to the first, so the first gives the shape. */
function binary(
  op: string,
  versions: Versions,
  extra: { readonly result?: DType; readonly traits?: readonly OpTrait[]; readonly mixed?: boolean } = {},
): OpSpec {
  const arithmetic = ARITHMETIC[op];
  return {
    op,
    domain: "",
    versions,
    inputs: count(2),
    outputs: count(1),
    traits: ["elementwise", ...(extra.traits ?? [])],
    infer(ctx) {
      const operand = extra.mixed === true ? ctx.dtype(0) : commonDType(ctx, [0, 1]);
      const dtype = extra.result ?? operand;
      const shape = ctx.opset < 7 ? ctx.shape(0) : broadcast(ctx, [ctx.shape(0), ctx.shape(1)]);
      ctx.set(0, dtype, shape);
      if (arithmetic === undefined || operand === null || !isFollowed(operand)) return;
      followElementwise(ctx, [0, 1], shape, dtype, (a, b) => arithmetic(a, b, operand));
    },
  };
}

/** Any number of broadcast inputs of one dtype. */
function variadic(op: string, versions: Versions): OpSpec {
  const arithmetic = ARITHMETIC[op === "Sum" ? "Add" : op];
  return {
    op,
    domain: "",
    versions,
    inputs: count(1, MANY),
    outputs: count(1),
    traits: ["elementwise", "commutative"],
    infer(ctx) {
      const all = ctx.node.inputs.map((_, i) => i);
      const dtype = commonDType(ctx, all);
      const shape =
        ctx.opset < 8
          ? ctx.shape(0)
          : broadcast(
              ctx,
              all.map((i) => ctx.shape(i)),
            );
      ctx.set(0, dtype, shape);
      if (arithmetic === undefined || dtype === null) return;
      followElementwise(ctx, all, shape, dtype, (first, ...rest) => {
        let out: Dim | null = first!;
        for (const x of rest) out = out === null ? null : arithmetic(out, x, dtype);
        return out;
      });
    },
    flops(c) {
      const size = c.outputs[0]?.reduce((a, b) => a * b, 1) ?? 0;
      return size * Math.max(1, c.inputs.length - 1);
    },
  };
}

const COMMUTATIVE: readonly OpTrait[] = ["commutative"];
const FLOAT_MATH: Versions = [7, 22];
const FLOAT_MATH_9: Versions = [9, 22];

const numeric =
  (f: (x: number) => number) =>
  (x: Dim): Dim | null =>
    typeof x === "number" ? f(x) : null;

/** Half to even, as the Round operator defines it. */
function roundEven(x: number): number {
  const r = Math.round(x);
  return Math.abs(x % 1) === 0.5 && r % 2 !== 0 ? r - 1 : r;
}

/** Names of element types in the Cast of opsets 1 to 5. */
const OLD_NAMES: Readonly<Record<string, DType>> = {
  FLOAT: "f32",
  DOUBLE: "f64",
  FLOAT16: "f16",
  INT64: "i64",
  INT32: "i32",
  BOOL: "bool",
  UINT8: "u8",
  INT8: "i8",
};

function castTarget(ctx: InferContext): DType | null {
  const to = ctx.attr("to");
  if (to?.kind === "string") return OLD_NAMES[ctx.str("to", "")] ?? null;
  const code = ctx.int("to", 0);
  const dtype = dtypeOf(code);
  if (dtype === null) ctx.invalid(`cast to unknown element type ${code}`);
  return dtype;
}

function inferCast(ctx: InferContext, to: DType | null) {
  const from = ctx.dtype(0);
  ctx.set(0, to, ctx.shape(0));
  if (to === null || from === null || !isFollowed(from)) return;
  followElementwise(ctx, [0], ctx.shape(0), to, (x) => castElement(x, from, to));
}

function inferClip(ctx: InferContext) {
  ctx.set(0, ctx.dtype(0), ctx.shape(0));
  if (ctx.opset < 11) return;
  const bounds = [1, 2].filter((i) => hasInput(ctx, i));
  followElementwise(ctx, [0, ...bounds], ctx.shape(0), ctx.dtype(0), (x, ...limits) => {
    let out = x;
    bounds.forEach((which, i) => {
      out = which === 1 ? maxDim(out, limits[i]!) : minDim(out, limits[i]!);
    });
    return out;
  });
}

function inferWhere(ctx: InferContext) {
  const condition = ctx.dtype(0);
  if (condition !== null && condition !== "bool")
    return ctx.invalid(`condition is ${condition}, expected bool`);
  const dtype = commonDType(ctx, [1, 2]);
  const shape = broadcast(ctx, [ctx.shape(0), ctx.shape(1), ctx.shape(2)]);
  ctx.set(0, dtype, shape);
  followElementwise(ctx, [0, 1, 2], shape, dtype, (c, x, y) => {
    if (x === y) return x!;
    return typeof c === "number" ? (c === 0 ? y! : x!) : null;
  });
}

function inferBitCast(ctx: InferContext) {
  const to = castTarget(ctx);
  const from = ctx.dtype(0);
  if (to !== null && from !== null && DTYPES[to].bits !== DTYPES[from].bits)
    return ctx.invalid(`cannot reinterpret ${from} as ${to}: the widths differ`);
  ctx.set(0, to, ctx.shape(0));
}

const base = { domain: "", outputs: count(1) } as const;
const ELEMENTWISE: readonly OpTrait[] = ["elementwise"];

/** Elementwise operators and casts of the standard domain, without activations. */
export const elementwiseOps: readonly OpSpec[] = [
  unary("Abs", [1, 6, 13], { data: (x) => (typeof x === "number" ? Math.abs(x) : atLeast(x, 0) ? x : null) }),
  unary("Acos", FLOAT_MATH),
  unary("Acosh", FLOAT_MATH_9),
  unary("Asin", FLOAT_MATH),
  unary("Asinh", FLOAT_MATH_9),
  unary("Atan", FLOAT_MATH),
  unary("Atanh", FLOAT_MATH_9),
  unary("BitwiseNot", [18]),
  unary("Ceil", [1, 6, 13], { data: ceilDim }),
  unary("Cos", FLOAT_MATH),
  unary("Cosh", FLOAT_MATH_9),
  unary("Erf", [9, 13]),
  unary("Exp", [1, 6, 13]),
  unary("Floor", [1, 6, 13], { data: floorDim }),
  unary("IsInf", [10, 20], { result: "bool" }),
  unary("IsNaN", [9, 13, 20], { result: "bool" }),
  unary("Log", [1, 6, 13]),
  unary("Neg", [1, 6, 13], { data: negDim }),
  unary("Not", [1], { data: numeric((x) => 1 - x) }),
  unary("Reciprocal", [1, 6, 13], { data: numeric((x) => 1 / x) }),
  unary("Round", [11, 22], { data: numeric(roundEven) }),
  unary("Sign", [9, 13], { data: (x) => (typeof x === "number" ? Math.sign(x) : atLeast(x, 1) ? 1 : null) }),
  unary("Sin", FLOAT_MATH),
  unary("Sinh", FLOAT_MATH_9),
  unary("Sqrt", [1, 6, 13], { data: numeric(Math.sqrt) }),
  unary("Tan", FLOAT_MATH),

  binary("Add", [1, 6, 7, 13, 14], { traits: COMMUTATIVE }),
  binary("Sub", [1, 6, 7, 13, 14]),
  binary("Mul", [1, 6, 7, 13, 14], { traits: COMMUTATIVE }),
  binary("Div", [1, 6, 7, 13, 14]),
  binary("Pow", [1, 7, 12, 13, 15], { mixed: true }),
  binary("Mod", [10, 13]),
  binary("BitShift", [11]),
  binary("BitwiseAnd", [18], { traits: COMMUTATIVE }),
  binary("BitwiseOr", [18], { traits: COMMUTATIVE }),
  binary("BitwiseXor", [18], { traits: COMMUTATIVE }),
  binary("And", [1, 7], { result: "bool", traits: COMMUTATIVE }),
  binary("Or", [1, 7], { result: "bool", traits: COMMUTATIVE }),
  binary("Xor", [1, 7], { result: "bool", traits: COMMUTATIVE }),
  binary("Equal", [1, 7, 11, 13, 19], { result: "bool", traits: COMMUTATIVE }),
  binary("Greater", [1, 7, 9, 13], { result: "bool" }),
  binary("GreaterOrEqual", [12, 16], { result: "bool" }),
  binary("Less", [1, 7, 9, 13], { result: "bool" }),
  binary("LessOrEqual", [12, 16], { result: "bool" }),
  variadic("Max", [1, 6, 8, 12, 13]),
  variadic("Mean", [1, 6, 8, 13]),
  variadic("Min", [1, 6, 8, 12, 13]),
  variadic("Sum", [1, 6, 8, 13]),

  {
    ...base,
    op: "Where",
    versions: [9, 16],
    inputs: count(3),
    traits: ELEMENTWISE,
    infer: inferWhere,
  },
  {
    ...base,
    op: "Clip",
    versions: [1, 6, 11, 12, 13],
    inputs: count(1, 3),
    traits: ELEMENTWISE,
    infer: inferClip,
  },
  {
    ...base,
    op: "Cast",
    versions: [1, 6, 9, 13, 19, 21, 23, 24, 25],
    inputs: count(1),
    traits: ELEMENTWISE,
    infer: (ctx) => inferCast(ctx, castTarget(ctx)),
  },
  {
    ...base,
    op: "CastLike",
    versions: [15, 19, 21, 23, 24, 25],
    inputs: count(2),
    traits: ELEMENTWISE,
    infer: (ctx) => inferCast(ctx, ctx.dtype(1)),
  },
  {
    ...base,
    op: "BitCast",
    versions: [26],
    inputs: count(1),
    traits: ELEMENTWISE,
    infer: inferBitCast,
  },
];
