import type { DType } from "../../ir/dtype.ts";
import type { Dense } from "../../ir/evaluator.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { transposed } from "../../numeric/linalg/product.ts";
import { packRows } from "../../numeric/nbits.ts";
import { biasCorrection, centred } from "../../numeric/quantize/bias.ts";
import { type FitMethod, type FittedWeight, fitWeight } from "../../numeric/quantize/fit-weight.ts";
import { gridOf, type ScaleType } from "../../numeric/quantize/grid.ts";
import type { BlockProblem } from "../../numeric/quantize/problem.ts";
import { bytesOf, elementsOf, encodeFloat, encodeSmallInt } from "./elements.ts";
import { defineKernel, describeType, type KernelType } from "./kernel.ts";
import { finiteWeights, rangeSearch, requireFloat, type Search } from "./quantize.ts";

type Params = {
  readonly order: "KN" | "NK";
  readonly packing: "nbits" | "axis";
  readonly bits: 2 | 4 | 8;
  readonly block: number;
  readonly symmetric: boolean;
  readonly search: Search;
  readonly scaleType: ScaleType;
  readonly method: FitMethod;
  readonly damp: number;
  readonly actOrder: boolean;
  readonly rounds: number;
  readonly rank: number;
  /** Inputs after the weight, in this order. */
  readonly gram: boolean;
  readonly mean: boolean;
};

/** How {@link fitTensor} stores a matrix. */
export interface FitTensorOptions {
  /** `KN`: [in, out] as MatMul has it; `NK`: [out, in] as Gemm with transB and flattened convolutions have it. */
  readonly order: "KN" | "NK";
  /** `nbits`: unsigned, as MatMulNBits reads it; `axis`: signed, in the layout of the matrix. */
  readonly packing: "nbits" | "axis";
  readonly bits: 2 | 4 | 8;
  /** Inputs that share a scale; all of them for one scale per output. */
  readonly block: number;
  readonly symmetric: boolean;
  readonly search: Search;
  readonly scaleType: ScaleType;
  readonly method: FitMethod;
  readonly damp: number;
  readonly actOrder: boolean;
  readonly rounds: number;
  /** Rank of the branch in half precision; 0 for none. */
  readonly rank: number;
  /** Gram matrix of the layer's input, f64 [in, in]; `null` where the method needs no data. */
  readonly gram: Tensor | null;
  /** Mean input, f64 [in], when the layer's bias can take up what the mean of the output changes by. */
  readonly mean: Tensor | null;
}

/** A fitted weight: everything comes from one evaluation. */
export interface FitTensors {
  /** `nbits`: u8 [out, blocks, block·bits/8]; `axis`: integers in the shape of the matrix. */
  readonly data: Tensor;
  /** `nbits`: [out, blocks]; `axis`: [blocks, out] for `KN`, [out, blocks] for `NK`. */
  readonly scale: Tensor;
  /** As `scale`, packed for `nbits`; `null` for symmetric grids. */
  readonly zero: Tensor | null;
  /** Factors of the branch, f16: first · second has the shape of the matrix ([in, out] for `nbits`). */
  readonly branch: { readonly first: Tensor; readonly second: Tensor } | null;
  /** What the bias gains, f32 [out]; `null` without a mean. */
  readonly correction: Tensor | null;
  /** f64 [4]: noise and signal of the output as predicted, Σ (w - ŵ)² and Σ w² of the weight. */
  readonly figures: Tensor;
}

interface Shape {
  readonly rows: number;
  readonly columns: number;
  readonly blocks: number;
}

function shapeOf(dims: readonly number[], p: Pick<Params, "order" | "block">): Shape {
  const [a, b] = dims as [number, number];
  const [rows, columns] = p.order === "KN" ? [b, a] : [a, b];
  return { rows, columns, blocks: Math.ceil(columns / p.block) };
}

function problemOf(
  p: Params,
  inputs: readonly Dense[],
): { problem: BlockProblem; mean: Float64Array | null } {
  const [x, ...data] = inputs as [Dense, ...Dense[]];
  const { rows, columns } = shapeOf(x.dims, p);
  const w = Float64Array.from(finiteWeights("fit-weight", x));
  const doubles = data.map((d) => elementsOf(d) as Float64Array);
  const gram = p.gram ? doubles[0]! : null;
  const mean = p.mean ? doubles[1]! : null;
  const grid = gridOf({ bits: p.bits, signed: p.packing === "axis", symmetric: p.symmetric });
  const problem: BlockProblem = {
    weights: p.order === "KN" ? transposed(w, columns, rows) : w,
    rows,
    columns,
    block: p.block,
    gram: gram !== null && mean !== null ? centred(gram, mean) : gram,
    options: { grid, search: rangeSearch(p.search), scaleType: p.scaleType },
  };
  return { problem, mean };
}

/** A row-major `rows` × `columns` array, turned when the matrix has its inputs in front. */
function laid<T extends Int16Array | Float32Array | Float64Array>(
  x: T,
  rows: number,
  columns: number,
  order: "KN" | "NK",
): Float32Array {
  const f = Float64Array.from(x);
  return Float32Array.from(order === "KN" ? transposed(f, rows, columns) : f);
}

function small(x: Float32Array, dtype: DType): Uint8Array {
  return encodeSmallInt(dtype, dtype.startsWith("i") ? Int8Array.from(x) : Uint8Array.from(x));
}

/** Integers, scales and zero points in the wanted packing. */
function stored(p: Params, s: Shape, { fit }: FittedWeight, outputs: readonly KernelType[]): Uint8Array[] {
  const [data, scale, zero] = outputs as [KernelType, KernelType, KernelType?];
  if (p.packing === "nbits") {
    const packed = packRows(fit, { K: s.columns, N: s.rows, bits: p.bits, blockSize: p.block });
    const parts = [packed.packed, encodeFloat(scale.dtype, fit.scale)];
    return p.symmetric ? parts : [...parts, packed.zeroPoints];
  }
  const parts = [
    small(laid(fit.q, s.rows, s.columns, p.order), data.dtype),
    encodeFloat(scale.dtype, laid(fit.scale, s.rows, s.blocks, p.order)),
  ];
  return p.symmetric ? parts : [...parts, small(laid(fit.zero, s.rows, s.blocks, p.order), zero!.dtype)];
}

/** Order of the branch's product: MatMulNBits stands for [in, out] whatever the weight looked like. */
const branchOrder = (p: Params): "KN" | "NK" => (p.packing === "nbits" ? "KN" : p.order);

function branchBytes(p: Params, s: Shape, { branch }: FittedWeight): Uint8Array[] {
  if (branch === null) return [];
  const { left, right, rank } = branch;
  const turned = branchOrder(p) === "KN";
  const first = turned ? transposed(right, rank, s.columns) : left;
  const second = turned ? transposed(left, s.rows, rank) : right;
  return [first, second].map((f) => encodeFloat("f16", Float32Array.from(f)));
}

/** Chooses integers, scales, zero points and branch of a weight matrix from the Gram matrix of its input. */
export const fitWeightKernel = defineKernel<Params>({
  name: "fit-weight",
  version: 1,
  scratch: (p, [t]) => {
    const { rows, columns } = shapeOf(t!.dims, p);
    return 8 * (6 * rows * columns + (p.gram ? 4 * columns * columns : 0));
  },
  evaluate(p, inputs, outputs) {
    const { problem, mean } = problemOf(p, inputs);
    const shape = shapeOf(inputs[0]!.dims, p);
    const found = fitWeight(problem, p);
    const { weights } = problem;
    let noise = 0;
    let signal = 0;
    for (let i = 0; i < weights.length; i++) {
      noise += (weights[i]! - found.approximation[i]!) ** 2;
      signal += weights[i]! ** 2;
    }
    const figures = Float64Array.of(found.error.noise, found.error.signal, noise, signal);
    const all = [
      ...stored(p, shape, found, outputs),
      ...branchBytes(p, shape, found),
      ...(mean === null
        ? []
        : [bytesOf(Float32Array.from(biasCorrection(weights, found.approximation, mean)))]),
      bytesOf(figures),
    ];
    return all.map((bytes, i) => ({ ...outputs[i]!, bytes }));
  },
});

/** Fits a float matrix; see {@link FitTensorOptions}. Without a Gram matrix every method but `hqq` is `nearest`. */
export function fitTensor(t: Tensor, options: FitTensorOptions): FitTensors {
  requireFloat(t);
  if (t.dims.length !== 2) throw new Error(`a matrix is fitted, not ${describeType(t)}`);
  const { gram, mean, ...rest } = options;
  if (mean !== null && gram === null) throw new Error("a mean is of no use without a Gram matrix");
  const params: Params = { ...rest, gram: gram !== null, mean: mean !== null };
  const { rows, columns, blocks } = shapeOf(t.dims, params);
  const rank = Math.min(params.rank, rows, columns);
  const { bits, symmetric, scaleType, block } = params;
  const turned = branchOrder(params) === "KN";
  const groups = params.order === "KN" ? [blocks, rows] : [rows, blocks];
  const integer = `i${bits}` as const;
  const outputs: KernelType[] =
    params.packing === "nbits"
      ? [
          { dtype: "u8", dims: [rows, blocks, (block * bits) / 8] },
          { dtype: scaleType, dims: [rows, blocks] },
          ...(symmetric ? [] : [{ dtype: "u8" as const, dims: [rows, Math.ceil((blocks * bits) / 8)] }]),
        ]
      : [
          { dtype: integer, dims: t.dims },
          { dtype: scaleType, dims: groups },
          ...(symmetric ? [] : [{ dtype: integer, dims: groups }]),
        ];
  const branchAt = outputs.length;
  if (rank > 0)
    outputs.push(
      { dtype: "f16", dims: [turned ? columns : rows, rank] },
      { dtype: "f16", dims: [rank, turned ? rows : columns] },
    );
  const correctionAt = outputs.length;
  if (mean !== null) outputs.push({ dtype: "f32", dims: [rows] });
  outputs.push({ dtype: "f64", dims: [4] });
  const inputs = [t, ...(gram === null ? [] : [gram]), ...(mean === null ? [] : [mean])];
  const made = fitWeightKernel.derive({ ...params, rank }, inputs, outputs);
  return {
    data: made[0]!,
    scale: made[1]!,
    zero: symmetric ? null : made[2]!,
    branch: rank > 0 ? { first: made[branchAt]!, second: made[branchAt + 1]! } : null,
    correction: mean === null ? null : made[correctionAt]!,
    figures: made.at(-1)!,
  };
}
