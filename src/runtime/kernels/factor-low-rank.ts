import type { Tensor } from "../../ir/tensor.ts";
import { lowRankFactors } from "../../numeric/factorize/low-rank.ts";
import { weighedEnergy } from "../../numeric/factorize/weighing.ts";
import { block, matrix, multiply } from "../../numeric/linalg/gemm.ts";
import { biasCorrection } from "../../numeric/quantize/bias.ts";
import { asF32, bytesOf, encodeFloat } from "./elements.ts";
import {
  encodeFactor,
  type FactorParams,
  type FactorStatistics,
  type Form,
  sidesOf,
  stackOf,
  stackScratch,
  swapInner,
} from "./factor-inputs.ts";
import { defineKernel, type KernelType } from "./kernel.ts";
import { requireFloat } from "./quantize.ts";

type Params = FactorParams & { readonly rank: number };

function transposedFloats(x: ArrayLike<number>, rows: number, columns: number): Float32Array {
  const out = new Float32Array(x.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = x[r * columns + c]!;
  return out;
}

/** Replaces weights that see one input by a shared first factor and a second one each. */
export const factorLowRankKernel = defineKernel<Params>({
  name: "factor-low-rank",
  version: 1,
  scratch: (p, inputs) => stackScratch(p, inputs),
  evaluate(p, inputs, outputs) {
    const stack = stackOf("factor-low-rank", p, inputs);
    const { columns, parts, taps } = stack;
    const found = lowRankFactors({ weights: stack.matrix, weighing: stack.weighing, damp: p.damp }, p.rank);
    const { rank } = found;
    const { dtype } = outputs[0]!;
    const round = (x: Float64Array): Float32Array =>
      asF32(encodeFactor("factor-low-rank", x, { dtype, dims: [x.length] }));
    const right = round(found.right);
    const left = round(found.left);
    const plain = taps === 1 ? right : swapInner(right, taps, columns / taps);
    const first = p.form === "conv" ? plain : transposedFloats(plain, rank, columns);
    const seconds: Float32Array[] = [];
    const corrections: Float32Array[] = [];
    const figures: number[] = [];
    let from = 0;
    for (const rows of parts) {
      const own = left.subarray(from * rank, (from + rows) * rank);
      seconds.push(p.form === "KN" ? transposedFloats(own, rows, rank) : own);
      const w = Float64Array.from(stack.data.subarray(from * columns, (from + rows) * columns));
      const made = multiply(
        block(matrix(left, left.length / rank, rank), from, from + rows, 0, rank),
        matrix(right, rank, columns),
      );
      if (stack.mean !== null) corrections.push(Float32Array.from(biasCorrection(w, made, stack.mean)));
      const difference = made.map((v, i) => w[i]! - v);
      figures.push(weighedEnergy(difference, stack.weighing), weighedEnergy(w, stack.weighing));
      from += rows;
    }
    const all = [
      ...[first, ...seconds].map((x) => encodeFloat(dtype, x)),
      ...corrections.map((c) => bytesOf(c)),
      bytesOf(Float64Array.from(figures)),
    ];
    return all.map((bytes, i) => ({ ...outputs[i]!, bytes }));
  },
});

/** Weights as a shared first factor and a second one each. */
export interface LowRankTensors {
  /** [in, rank], of convolutions [rank, channels, height, width]. */
  readonly first: Tensor;
  /** As the weights lie, with the rank in place of their inputs; of convolutions [out, rank, 1, 1]. */
  readonly seconds: readonly Tensor[];
  /** What each bias gains, f32 [out]; empty without a mean. */
  readonly corrections: readonly Tensor[];
  /** f64 [2 per weight]: noise and signal of its output as predicted. */
  readonly figures: Tensor;
}

/** How {@link lowRankTensors} factors weights. */
export interface LowRankOptions {
  readonly form: Form;
  readonly rank: number;
  readonly damp: number;
  /** `null`: all inputs count alike. */
  readonly statistics: FactorStatistics | null;
}

/** Type of a second factor. */
function secondDims(dims: readonly number[], form: Form, rank: number): readonly number[] {
  const { rows } = sidesOf(dims, form);
  if (form === "KN") return [rank, rows];
  return form === "NK" ? [rows, rank] : [rows, rank, 1, 1];
}

/** Parameters and inputs of a kernel over stacked weights. */
export function stackInputs(weights: readonly Tensor[], o: Omit<LowRankOptions, "rank">) {
  for (const w of weights) requireFloat(w);
  const { statistics: s } = o;
  const params: FactorParams = {
    form: o.form,
    weights: weights.length,
    gram: s !== null,
    mean: s !== null && s.mean !== null,
    damp: o.damp,
  };
  const inputs = [
    ...weights,
    ...(s === null ? [] : [s.gram]),
    ...(s === null || s.mean === null ? [] : [s.mean]),
  ];
  return { params, inputs };
}

/** Factors float weights of one type that see the same input. The rank must not exceed their smaller side. */
export function lowRankTensors(weights: readonly Tensor[], o: LowRankOptions): LowRankTensors {
  const { params, inputs } = stackInputs(weights, o);
  const { dtype, dims } = weights[0]!;
  const { columns } = sidesOf(dims, o.form);
  const first = o.form === "conv" ? [o.rank, ...dims.slice(1)] : [columns, o.rank];
  const outputs: KernelType[] = [
    { dtype, dims: first },
    ...weights.map((w) => ({ dtype, dims: secondDims(w.dims, o.form, o.rank) })),
    ...(params.mean
      ? weights.map((w) => ({ dtype: "f32" as const, dims: [sidesOf(w.dims, o.form).rows] }))
      : []),
    { dtype: "f64", dims: [2 * weights.length] },
  ];
  const made = factorLowRankKernel.derive({ ...params, rank: o.rank }, inputs, outputs);
  const n = weights.length;
  return {
    first: made[0]!,
    seconds: made.slice(1, 1 + n),
    corrections: params.mean ? made.slice(1 + n, 1 + 2 * n) : [],
    figures: made.at(-1)!,
  };
}
