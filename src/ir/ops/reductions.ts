import { addDim, mulDim } from "../dim.ts";
import type { Dim } from "../types.ts";
import { axesOf, axisAttr, count, elements, hasInput, reduceShape, sameAs } from "./shape-rules.ts";
import type { InferContext, OpSpec } from "./spec.ts";

/** Elements of an integer vector reduced to one, when the reduction can be done on symbols. */
type DataRule = (a: Dim, b: Dim) => Dim | null;

function reduce(
  op: string,
  versions: readonly number[],
  options: { readonly axesInput: number; readonly perElement?: number; readonly data?: DataRule },
): OpSpec {
  return {
    op,
    domain: "",
    versions,
    inputs: count(1, 2),
    outputs: count(1),
    traits: ["reduction"],
    shapeInputs: [1],
    infer: (ctx) => {
      const byInput = ctx.opset >= options.axesInput;
      const axes = byInput
        ? hasInput(ctx, 1)
          ? ctx.ints(1)
          : undefined
        : axesOf(ctx, Number.POSITIVE_INFINITY);
      const listed = byInput ? ctx.shape(1)?.[0] : undefined;
      const keepDims = ctx.int("keepdims", 1) !== 0;
      const shape = reduceShape(ctx, ctx.shape(0), {
        axes,
        keepDims,
        noop: ctx.int("noop_with_empty_axes", 0) !== 0,
        count: typeof listed === "number" ? listed : null,
      });
      ctx.set(0, ctx.dtype(0), shape);
      if (options.data !== undefined) reduceData(ctx, options.data, shape?.length ?? null);
    },
    flops: (ctx) => (elements(ctx.inputs[0]) ?? 0) * (options.perElement ?? 1),
  };
}

function reduceData(ctx: InferContext, rule: DataRule, outRank: number | null): void {
  const data = ctx.data(0);
  const rank = ctx.shape(0)?.length;
  const first = data?.[0];
  if (data === null || first === undefined || rank !== 1 || outRank === null) return;
  // A vector has one axis: unless the reduction is a no-op it gives one number.
  if (ctx.int("noop_with_empty_axes", 0) !== 0) return;
  let out: Dim | null = first;
  for (const d of data.slice(1)) out = out === null ? null : rule(out, d);
  if (out !== null) ctx.setData(0, [out]);
}

const numbers =
  (f: (a: number, b: number) => number): DataRule =>
  (a, b) =>
    typeof a === "number" && typeof b === "number" ? f(a, b) : a === b ? a : null;

function arg(op: string): OpSpec {
  return {
    op,
    domain: "",
    versions: [1, 11, 12, 13],
    inputs: count(1),
    outputs: count(1),
    traits: ["reduction"],
    infer: (ctx) => {
      const shape = ctx.shape(0);
      if (shape === null) {
        ctx.set(0, "i64", null);
        return;
      }
      const axis = axisAttr(ctx, shape.length, 0);
      if (axis === null) return;
      ctx.set(0, "i64", reduceShape(ctx, shape, { axes: [axis], keepDims: ctx.int("keepdims", 1) !== 0 }));
    },
    flops: (ctx) => elements(ctx.inputs[0]) ?? 0,
  };
}

function cumulative(op: string, versions: readonly number[]): OpSpec {
  return {
    op,
    domain: "",
    versions,
    inputs: count(2),
    outputs: count(1),
    shapeInputs: [1],
    infer: (ctx) => sameAs(ctx, 0),
    flops: (ctx) => elements(ctx.inputs[0]) ?? 0,
  };
}

const PLAIN = [1, 11, 13, 18] as const;
const EXTREME = [1, 11, 12, 13, 18, 20] as const;

/** Reductions over axes, arg-reductions and running sums. */
export const reductionsOps: readonly OpSpec[] = [
  reduce("ReduceSum", [1, 11, 13], { axesInput: 13, data: addDim }),
  reduce("ReduceMean", PLAIN, { axesInput: 18 }),
  reduce("ReduceProd", PLAIN, { axesInput: 18, data: mulDim }),
  reduce("ReduceMax", EXTREME, { axesInput: 18, data: numbers(Math.max) }),
  reduce("ReduceMin", EXTREME, { axesInput: 18, data: numbers(Math.min) }),
  reduce("ReduceL1", PLAIN, { axesInput: 18, perElement: 2 }),
  reduce("ReduceL2", PLAIN, { axesInput: 18, perElement: 2 }),
  reduce("ReduceSumSquare", PLAIN, { axesInput: 18, perElement: 2 }),
  reduce("ReduceLogSum", PLAIN, { axesInput: 18 }),
  reduce("ReduceLogSumExp", PLAIN, { axesInput: 18, perElement: 2 }),
  arg("ArgMax"),
  arg("ArgMin"),
  cumulative("CumSum", [11, 14]),
  cumulative("CumProd", [26]),
];
