import type { DType } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { transposed } from "../../numeric/linalg/product.ts";
import { packRows } from "../../numeric/nbits.ts";
import {
  type FitMethod,
  type FittedWeight,
  fitWeight,
  type SparseFit,
} from "../../numeric/quantize/fit-weight.ts";
import { gridOf, type ScaleType } from "../../numeric/quantize/grid.ts";
import { encodeFloat, encodeSmallInt } from "./elements.ts";
import { conclusions, laid, problemParts, sizesOf } from "./fit-inputs.ts";
import { defineKernel, describeType, type KernelType } from "./kernel.ts";
import { rangeSearch, requireFloat, type Search } from "./quantize.ts";

/** How a matrix is fitted and stored. */
type FitSettings = {
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
  /** Zeros fitted in the same sweep; `null` keeps those the weight has. */
  readonly sparse: SparseFit | null;
};

/** What of the layer's inputs follows the weight among the kernel's inputs, in this order. */
type Params = FitSettings & { readonly gram: boolean; readonly mean: boolean };

/** How {@link fitTensor} stores a matrix. */
export type FitTensorOptions = FitSettings & {
  /** Gram matrix of the layer's input, f64 [in, in]; `null` where the method needs no data. */
  readonly gram: Tensor | null;
  /** Mean input, f64 [in], when the layer's bias can take up what the mean of the output changes by. */
  readonly mean: Tensor | null;
};

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
  const { rows, columns } = sizesOf(dims, p.order);
  return { rows, columns, blocks: Math.ceil(columns / p.block) };
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
  version: 2,
  scratch: (p, [t]) => {
    const { rows, columns } = shapeOf(t!.dims, p);
    return 8 * (6 * rows * columns + (p.gram ? 4 * columns * columns : 0));
  },
  evaluate(p, inputs, outputs) {
    const { parts, mean } = problemParts("fit-weight", p, inputs);
    const shape = shapeOf(inputs[0]!.dims, p);
    const grid = gridOf({ bits: p.bits, signed: p.packing === "axis", symmetric: p.symmetric });
    const search = rangeSearch(p.search);
    const settings = { grid, search, scaleType: p.scaleType };
    const found = fitWeight({ ...parts, block: p.block, options: settings }, p);
    const all = [
      ...stored(p, shape, found, outputs),
      ...branchBytes(p, shape, found),
      ...conclusions(parts.weights, found, mean),
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
