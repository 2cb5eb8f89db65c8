import type { DType } from "../dtype.ts";
import type { Node } from "../graph.ts";
import type { Dim, Shape } from "../types.ts";
import { commonDType } from "./elementwise.ts";
import { broadcast, count, elements, mergeDim, shapeOfRank } from "./shape-rules.ts";
import type { CostContext, InferContext, OpSpec, WeightRole } from "./spec.ts";
import { plainInt } from "./window.ts";

/** Shape of a numpy matmul; vectors gain and lose a 1 (MatMul-13). `null` when unknown or not fitting (reported). */
function matmulShape(ctx: InferContext, a: Shape, b: Shape): Shape {
  if (a === null || b === null) return null;
  if (a.length === 0 || b.length === 0) {
    ctx.invalid("scalars cannot be multiplied as matrices");
    return null;
  }
  const left = a.length === 1 ? [1, a[0]!] : a;
  const right = b.length === 1 ? [b[0]!, 1] : b;
  const inner = left[left.length - 1]!;
  const other = right[right.length - 2]!;
  if (mergeDim(inner, other) === null) {
    ctx.invalid(`[${a.join(", ")}] and [${b.join(", ")}] cannot be multiplied: ${inner} is not ${other}`);
    return null;
  }
  const batch = broadcast(ctx, [left.slice(0, -2), right.slice(0, -2)]);
  if (batch === null) return null;
  const out: Dim[] = [...batch];
  if (a.length > 1) out.push(left[left.length - 2]!);
  if (b.length > 1) out.push(right[right.length - 1]!);
  return out;
}

/** 2 per multiply-add over the inner axis of input `a`. */
function matmulFlops(a: number): (c: CostContext) => number {
  return (c) => 2 * (elements(c.outputs[0]) ?? 0) * (c.inputs[a]?.at(-1) ?? 0);
}

function gemmFlops(c: CostContext): number {
  const a = c.inputs[0];
  const out = elements(c.outputs[0]) ?? 0;
  const k = a?.[c.int("transA", 0) !== 0 ? 0 : 1] ?? 0;
  return 2 * out * k + (c.inputs[2] === null || c.inputs[2] === undefined ? 0 : out);
}

/** Shape of a Gemm of inputs `a` and `b`. */
function gemmShape(ctx: InferContext, a: number, b: number): Shape {
  const x = shapeOfRank(ctx, a, 2, 2);
  const w = shapeOfRank(ctx, b, 2, 2);
  const transA = ctx.int("transA", 0) !== 0;
  const transB = ctx.int("transB", 0) !== 0;
  const [k1, k2] = [x?.[transA ? 0 : 1], w?.[transB ? 1 : 0]];
  if (k1 !== undefined && k2 !== undefined && mergeDim(k1, k2) === null) {
    ctx.invalid(`inner lengths ${k1} and ${k2} differ`);
    return null;
  }
  return [x?.[transA ? 1 : 0] ?? ctx.fresh(), w?.[transB ? 0 : 1] ?? ctx.fresh()];
}

function present(node: Node, i: number): number | null {
  const id = node.inputs[i];
  return id === null || id === undefined ? null : i;
}

/** Role of a matrix weight; `transposed` weights are [out, in]. Weights of more than two axes are activations. */
function matrixRole(options: {
  readonly activation: number;
  readonly weight: number;
  readonly bias?: number;
  readonly transposed?: string;
}): NonNullable<OpSpec["weight"]> {
  return (node, rank): WeightRole | null => {
    if (rank(options.weight) !== 2) return null;
    const flip = options.transposed !== undefined && plainInt(node, options.transposed, 0) !== 0;
    return {
      input: options.weight,
      outAxis: flip ? 0 : 1,
      inAxis: flip ? 1 : 0,
      reduceAxes: [flip ? 1 : 0],
      activation: options.activation,
      bias: options.bias === undefined ? null : present(node, options.bias),
      groups: 1,
    };
  };
}

function matmul(ctx: InferContext, dtype: DType | null, a: number, b: number) {
  ctx.set(0, dtype, matmulShape(ctx, ctx.shape(a), ctx.shape(b)));
}

/** FusedMatMul transposes the last two axes, or moves the first one next to the last (`transBatch`). */
function fusedOperand(ctx: InferContext, i: number, letter: "A" | "B"): Shape {
  let shape = ctx.shape(i);
  if (shape === null || shape.length < 2) return shape;
  const n = shape.length;
  if (ctx.int(`transBatch${letter}`, 0) !== 0 && n > 2) {
    shape = [...shape.slice(1, n - 1), shape[0]!, shape[n - 1]!];
  }
  if (ctx.int(`trans${letter}`, 0) === 0) return shape;
  return [...shape.slice(0, n - 2), shape[n - 1]!, shape[n - 2]!];
}

function fusedFlops(c: CostContext): number {
  const a = c.inputs[0];
  if (a === null || a === undefined) return 0;
  const k = c.int("transA", 0) !== 0 ? a[a.length - 2] : a.at(-1);
  return 2 * (elements(c.outputs[0]) ?? 0) * (k ?? 0);
}

function fused(op: string): OpSpec {
  return {
    op,
    domain: "com.microsoft",
    versions: [1],
    inputs: count(2, 3),
    outputs: count(1),
    infer(ctx) {
      ctx.set(0, ctx.dtype(0), matmulShape(ctx, fusedOperand(ctx, 0, "A"), fusedOperand(ctx, 1, "B")));
    },
    flops: fusedFlops,
    weight: matrixRole({ activation: 0, weight: 1, transposed: "transB" }),
  };
}

/** Shape of a linear layer whose packed weight says its sizes in attributes K and N (MatMulNBits). */
function inferNBits(ctx: InferContext) {
  const a = shapeOfRank(ctx, 0, 1);
  const [k, n] = [ctx.int("K", 0), ctx.int("N", 0)];
  if (k < 1 || n < 1) return ctx.invalid(`K is ${k} and N is ${n}, both must be positive`);
  const inner = a?.at(-1);
  if (typeof inner === "number" && inner !== k)
    return ctx.invalid(`the input has ${inner} columns, K is ${k}`);
  ctx.set(0, ctx.dtype(0), a === null ? null : [...a.slice(0, -1), n]);
}

const base = { domain: "", outputs: count(1) } as const;
const contrib = { domain: "com.microsoft", versions: [1], outputs: count(1) } as const;

/** Matrix products, standard and contributed. */
export const matmulOps: readonly OpSpec[] = [
  {
    ...base,
    op: "MatMul",
    versions: [1, 9, 13],
    inputs: count(2),
    infer: (ctx) => matmul(ctx, commonDType(ctx, [0, 1]), 0, 1),
    flops: matmulFlops(0),
    weight: matrixRole({ activation: 0, weight: 1 }),
  },
  {
    ...base,
    op: "Gemm",
    versions: [1, 6, 7, 9, 11, 13],
    inputs: count(2, 3),
    infer: (ctx) => ctx.set(0, commonDType(ctx, [0, 1, 2]), gemmShape(ctx, 0, 1)),
    flops: gemmFlops,
    weight: matrixRole({ activation: 0, weight: 1, bias: 2, transposed: "transB" }),
  },
  {
    ...base,
    op: "MatMulInteger",
    versions: [10],
    inputs: count(2, 4),
    infer: (ctx) => matmul(ctx, "i32", 0, 1),
    flops: matmulFlops(0),
    weight: matrixRole({ activation: 0, weight: 1 }),
  },
  {
    ...base,
    op: "QLinearMatMul",
    versions: [10, 21],
    inputs: count(8),
    infer: (ctx) => matmul(ctx, ctx.dtype(7) ?? ctx.dtype(0), 0, 3),
    flops: matmulFlops(0),
    weight: matrixRole({ activation: 0, weight: 3 }),
  },
  {
    ...base,
    op: "Det",
    versions: [11, 22],
    inputs: count(1),
    infer(ctx) {
      const shape = shapeOfRank(ctx, 0, 2);
      ctx.set(0, ctx.dtype(0), shape === null ? null : shape.slice(0, -2));
    },
    // Elimination of an n by n matrix: 2/3 n^3.
    flops: (c) => ((elements(c.inputs[0]) ?? 0) * (c.inputs[0]?.at(-1) ?? 0) * 2) / 3,
  },
  fused("FusedMatMul"),
  fused("FusedMatMulActivation"),
  fused("TransposeMatMul"),
  {
    ...contrib,
    op: "FusedGemm",
    inputs: count(2, 3),
    infer: (ctx) => ctx.set(0, ctx.dtype(0), gemmShape(ctx, 0, 1)),
    flops: gemmFlops,
    weight: matrixRole({ activation: 0, weight: 1, bias: 2, transposed: "transB" }),
  },
  {
    ...contrib,
    op: "GemmFloat8",
    inputs: count(2, 6),
    infer(ctx) {
      const code = ctx.int("dtype", 1);
      ctx.set(0, code === 10 ? "f16" : code === 16 ? "bf16" : "f32", gemmShape(ctx, 0, 1));
    },
    flops: gemmFlops,
    weight: matrixRole({ activation: 0, weight: 1, bias: 2, transposed: "transB" }),
  },
  {
    ...contrib,
    op: "MatMulNBits",
    inputs: count(3, 6),
    infer: inferNBits,
    flops: (c) => 2 * (elements(c.inputs[0]) ?? 0) * c.int("N", 0),
    weight: (node) => ({
      input: 1,
      outAxis: 0,
      inAxis: 1,
      reduceAxes: [1, 2],
      activation: 0,
      bias: present(node, 5),
      groups: 1,
    }),
  },
  {
    ...contrib,
    op: "DynamicQuantizeMatMul",
    inputs: count(3, 5),
    infer: (ctx) => matmul(ctx, ctx.dtype(0), 0, 1),
    flops: matmulFlops(0),
    weight: matrixRole({ activation: 0, weight: 1, bias: 4 }),
  },
  {
    ...contrib,
    op: "MatMulIntegerToFloat",
    inputs: count(4, 7),
    infer: (ctx) => matmul(ctx, ctx.dtype(2), 0, 1),
    flops: matmulFlops(0),
    weight: matrixRole({ activation: 0, weight: 1, bias: 6 }),
  },
  {
    ...contrib,
    op: "QGemm",
    inputs: count(6, 9),
    infer: (ctx) => ctx.set(0, ctx.dtype(8) ?? "f32", gemmShape(ctx, 0, 3)),
    flops: gemmFlops,
    weight: matrixRole({ activation: 0, weight: 3, bias: 6, transposed: "transB" }),
  },
];
