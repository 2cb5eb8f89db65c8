import { mulDim } from "../dim.ts";
import type { DType } from "../dtype.ts";
import type { Node } from "../graph.ts";
import type { Dim } from "../types.ts";
import { commonDType } from "./elementwise.ts";
import { count, elements, freshShape } from "./shape-rules.ts";
import type { CostContext, InferContext, OpSpec, WeightRole } from "./spec.ts";
import { plainInt, transposedLength, windowLength, windowOf } from "./window.ts";

/** Shape rule of every convolution: activation and weight inputs differ per spelling. */
function inferConv(ctx: InferContext, dtype: DType | null, activation: number, weight: number) {
  const x = ctx.shape(activation);
  const w = ctx.shape(weight);
  const rank = x?.length ?? w?.length ?? null;
  if (rank === null) return ctx.set(0, dtype, null);
  if (rank < 3) return ctx.invalid(`the input has rank ${rank}, expected at least 3`);
  if (x !== null && w !== null && x.length !== w.length)
    return ctx.invalid(`input and weight have ranks ${x.length} and ${w.length}`);
  const kernel = ctx.ints_("kernel_shape") ?? w?.slice(2) ?? freshShape(ctx, rank - 2);
  const window = windowOf(ctx, rank - 2, kernel);
  if (window === null) return;
  const groups = ctx.int("group", 1);
  const channels = w === null ? null : mulDim(w[1]!, groups);
  if (typeof channels === "number" && typeof x?.[1] === "number" && x[1] !== channels)
    return ctx.invalid(`the input has ${x[1]} channels, the weight wants ${channels}`);
  const out: Dim[] = [x?.[0] ?? ctx.fresh(), w?.[0] ?? ctx.fresh()];
  for (let i = 0; i < rank - 2; i++) {
    const d = x?.[i + 2];
    out.push(d === undefined ? ctx.fresh() : windowLength(ctx, window, i, d));
  }
  ctx.set(0, dtype, out);
}

function inferConvTranspose(ctx: InferContext) {
  const dtype = commonDType(ctx, [0, 1]);
  const x = ctx.shape(0);
  const w = ctx.shape(1);
  if (x === null || w === null) return ctx.set(0, dtype, x === null ? null : freshShape(ctx, x.length));
  if (x.length < 3 || x.length !== w.length)
    return ctx.invalid(`input and weight have ranks ${x.length} and ${w.length}`);
  const axes = x.length - 2;
  const window = windowOf(ctx, axes, ctx.ints_("kernel_shape") ?? w.slice(2));
  if (window === null) return;
  if (typeof x[1] === "number" && typeof w[0] === "number" && x[1] !== w[0])
    return ctx.invalid(`the input has ${x[1]} channels, the weight wants ${w[0]}`);
  const fixed = ctx.ints_("output_shape");
  const extra = ctx.ints_("output_padding") ?? new Array<number>(axes).fill(0);
  if (fixed !== undefined && fixed.length < axes)
    return ctx.invalid(`output_shape has ${fixed.length} entries for ${axes} spatial axes`);
  const out: Dim[] = [x[0]!, mulDim(w[1]!, ctx.int("group", 1))];
  for (let i = 0; i < axes; i++) {
    out.push(fixed?.[fixed.length - axes + i] ?? transposedLength(window, i, x[i + 2]!, extra[i] ?? 0));
  }
  ctx.set(0, dtype, out);
}

/** 2 per multiply-add: every output element sums over the input channels of its group and the kernel. */
function convFlops(weight: number): (c: CostContext) => number {
  return (c) => {
    const w = c.inputs[weight];
    const out = elements(c.outputs[0]);
    return w === null || w === undefined || out === null ? 0 : 2 * out * (elements(w.slice(1)) ?? 0);
  };
}

function transposeFlops(c: CostContext): number {
  const w = c.inputs[1];
  const x = elements(c.inputs[0]);
  return w === null || w === undefined || x === null ? 0 : 2 * x * (elements(w.slice(1)) ?? 0);
}

function optional(node: Node, i: number): number | null {
  const id = node.inputs[i];
  return id === null || id === undefined ? null : i;
}

function convRole(activation: number, weight: number, bias: number | null): NonNullable<OpSpec["weight"]> {
  return (node, rank): WeightRole | null => {
    const r = rank(weight);
    if (r === null || r < 2) return null;
    return {
      input: weight,
      outAxis: 0,
      inAxis: 1,
      reduceAxes: Array.from({ length: r - 1 }, (_, i) => i + 1),
      activation,
      bias: bias === null ? null : optional(node, bias),
      groups: plainInt(node, "group", 1),
    };
  };
}

const base = { domain: "", outputs: count(1) } as const;

/** Convolutions, float and integer. */
export const convOps: readonly OpSpec[] = [
  {
    ...base,
    op: "Conv",
    versions: [1, 11, 22],
    inputs: count(2, 3),
    infer: (ctx) => inferConv(ctx, commonDType(ctx, [0, 1, 2]), 0, 1),
    flops: convFlops(1),
    weight: convRole(0, 1, 2),
  },
  {
    ...base,
    op: "ConvTranspose",
    versions: [1, 11, 22],
    inputs: count(2, 3),
    infer: inferConvTranspose,
    flops: transposeFlops,
    weight(node, rank) {
      const r = rank(1);
      if (r === null || r < 2) return null;
      const kernel = Array.from({ length: r - 2 }, (_, i) => i + 2);
      return {
        input: 1,
        outAxis: 1,
        inAxis: 0,
        reduceAxes: [0, ...kernel],
        activation: 0,
        bias: optional(node, 2),
        groups: plainInt(node, "group", 1),
      };
    },
  },
  {
    ...base,
    op: "DeformConv",
    versions: [19, 22],
    inputs: count(3, 5),
    infer: (ctx) => inferConv(ctx, commonDType(ctx, [0, 1, 2]), 0, 1),
    flops: convFlops(1),
    weight: convRole(0, 1, 3),
  },
  {
    ...base,
    op: "ConvInteger",
    versions: [10],
    inputs: count(2, 4),
    infer: (ctx) => inferConv(ctx, "i32", 0, 1),
    flops: convFlops(1),
    weight: convRole(0, 1, null),
  },
  {
    ...base,
    op: "QLinearConv",
    versions: [10],
    // Weight and its zero point, with `session.x64quantprecision`.
    ownConstants: [3, 5],
    inputs: count(8, 9),
    infer: (ctx) => inferConv(ctx, ctx.dtype(7) ?? ctx.dtype(0), 0, 3),
    flops: convFlops(3),
    weight: convRole(0, 3, 8),
  },
];
