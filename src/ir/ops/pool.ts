import type { Dim } from "../types.ts";
import { count, elements, freshShape, shapeOfRank } from "./shape-rules.ts";
import type { CostContext, InferContext, OpSpec, OpTrait } from "./spec.ts";
import { transposedLength, windowLength, windowOf } from "./window.ts";

function inferPool(ctx: InferContext) {
  const shape = shapeOfRank(ctx, 0, 3);
  const dtype = ctx.dtype(0);
  const indexed = ctx.node.outputs.length > 1;
  const kernel = ctx.ints_("kernel_shape");
  if (kernel === undefined) return ctx.invalid("kernel_shape is missing");
  if (shape === null) {
    const open = freshShape(ctx, kernel.length + 2);
    ctx.set(0, dtype, open);
    if (indexed) ctx.set(1, "i64", open);
    return;
  }
  const window = windowOf(ctx, shape.length - 2, kernel);
  if (window === null) return;
  const ceil = ctx.int("ceil_mode", 0) !== 0;
  const out: Dim[] = [shape[0]!, shape[1]!];
  for (let i = 0; i < kernel.length; i++) out.push(windowLength(ctx, window, i, shape[i + 2]!, ceil));
  ctx.set(0, dtype, out);
  if (indexed) ctx.set(1, "i64", out);
}

function poolFlops(c: CostContext): number {
  return (elements(c.outputs[0]) ?? 0) * (elements(c.ints_("kernel_shape")) ?? 1);
}

function inferGlobalPool(ctx: InferContext) {
  const shape = shapeOfRank(ctx, 0, 2);
  ctx.set(0, ctx.dtype(0), shape === null ? null : shape.map((d, i) => (i < 2 ? d : 1)));
}

/** MaxUnpool undoes a MaxPool: the transposed window, or the shape its third input gives. */
function inferMaxUnpool(ctx: InferContext) {
  const shape = shapeOfRank(ctx, 0, 3);
  const kernel = ctx.ints_("kernel_shape");
  if (kernel === undefined) return ctx.invalid("kernel_shape is missing");
  const rank = kernel.length + 2;
  const given = ctx.node.inputs[2];
  if (given !== undefined && given !== null)
    return ctx.set(0, ctx.dtype(0), ctx.data(2) ?? freshShape(ctx, rank));
  if (shape === null) return ctx.set(0, ctx.dtype(0), freshShape(ctx, rank));
  const window = windowOf(ctx, shape.length - 2, kernel);
  if (window === null) return;
  ctx.set(
    0,
    ctx.dtype(0),
    shape.map((d, i) => (i < 2 ? d : transposedLength(window, i - 2, d, 0))),
  );
}

function inferMaxRoiPool(ctx: InferContext) {
  const x = shapeOfRank(ctx, 0, 3);
  const pooled = ctx.ints_("pooled_shape");
  if (pooled === undefined) return ctx.invalid("pooled_shape is missing");
  ctx.set(0, ctx.dtype(0), [ctx.shape(1)?.[0] ?? ctx.fresh(), x?.[1] ?? ctx.fresh(), ...pooled]);
}

/** Averages and norms sum up their window; maxima do not. */
const SUMS: readonly OpTrait[] = ["reduction"];

function pool(
  op: string,
  versions: readonly number[],
  traits: readonly OpTrait[],
  outputs = count(1),
): OpSpec {
  return {
    op,
    domain: "",
    versions,
    inputs: count(1),
    outputs,
    traits,
    infer: inferPool,
    flops: poolFlops,
  };
}

function globalPool(op: string, versions: readonly number[], traits: readonly OpTrait[]): OpSpec {
  return {
    op,
    domain: "",
    versions,
    inputs: count(1),
    outputs: count(1),
    traits,
    infer: inferGlobalPool,
    flops: (c) => elements(c.inputs[0]) ?? 0,
  };
}

/** Pooling operators. */
export const poolOps: readonly OpSpec[] = [
  pool("AveragePool", [1, 7, 10, 11, 19, 22], SUMS),
  pool("LpPool", [1, 2, 11, 18, 22], SUMS),
  pool("MaxPool", [1, 8, 10, 11, 12, 22], [], count(1, 2)),
  globalPool("GlobalAveragePool", [1, 22], SUMS),
  globalPool("GlobalLpPool", [1, 2, 22], SUMS),
  globalPool("GlobalMaxPool", [1, 22], []),
  {
    op: "MaxUnpool",
    domain: "",
    versions: [9, 11, 22],
    inputs: count(2, 3),
    outputs: count(1),
    shapeInputs: [2],
    infer: inferMaxUnpool,
  },
  {
    op: "MaxRoiPool",
    domain: "",
    versions: [1, 22],
    inputs: count(2),
    outputs: count(1),
    infer: inferMaxRoiPool,
  },
];
