import type { Dense } from "../../ir/evaluator.ts";
import type { Tensor } from "../../ir/tensor.ts";
import {
  type TuckerProblem,
  type TuckerRanks,
  tuckerFactors,
  tuckerProduct,
  tuckerSpectra,
} from "../../numeric/factorize/tucker.ts";
import { weighedEnergy } from "../../numeric/factorize/weighing.ts";
import { biasCorrection, centred } from "../../numeric/quantize/bias.ts";
import { asF32, bytesOf, elementsOf } from "./elements.ts";
import { encodeFactor, type FactorStatistics } from "./factor-inputs.ts";
import { defineKernel, type KernelType } from "./kernel.ts";
import { finiteWeights, requireFloat } from "./quantize.ts";

type Params = { readonly gram: boolean; readonly mean: boolean; readonly damp: number };
type FactorParams = Params & { readonly input: number; readonly output: number };

function problemOf(kernel: string, p: Params, inputs: readonly Dense[]) {
  const [w, ...data] = inputs as [Dense, ...Dense[]];
  const [outputs, channels, height, width] = w.dims as [number, number, number, number];
  const doubles = data.map((d) => elementsOf(d) as Float64Array);
  const gram = p.gram ? doubles[0]! : null;
  const mean = p.mean ? doubles[1]! : null;
  const counted = gram !== null && mean !== null ? centred(gram, mean) : gram;
  const problem: TuckerProblem = {
    weights: finiteWeights(kernel, w),
    outputs,
    channels,
    taps: height * width,
    weighing: counted === null ? null : { gram: counted, size: Math.round(Math.sqrt(counted.length)) },
    damp: p.damp,
  };
  return { problem, mean };
}

/** tr(d·gram·dᵀ) of a difference of weights, [outputs, channels, taps]. */
function energyOf(d: Float64Array, p: TuckerProblem): number {
  const { weighing, outputs, channels, taps } = p;
  if (weighing === null || weighing.size === channels * taps) return weighedEnergy(d, weighing);
  const last = new Float64Array(d.length);
  for (let n = 0; n < outputs; n++)
    for (let c = 0; c < channels; c++)
      for (let t = 0; t < taps; t++) last[(n * taps + t) * channels + c] = d[(n * channels + c) * taps + t]!;
  return weighedEnergy(last, weighing);
}

function scratchOf(p: Params, inputs: readonly KernelType[]): number {
  const size = inputs[0]!.dims.reduce((a, b) => a * b, 1);
  const gram = p.gram ? inputs[1]!.dims[0]! : 0;
  return 8 * (6 * size + 4 * gram * gram);
}

/** A convolution's weight as three smaller ones. */
export const factorTuckerKernel = defineKernel<FactorParams>({
  name: "factor-tucker",
  version: 1,
  scratch: scratchOf,
  evaluate(p, inputs, outputs) {
    const { problem, mean } = problemOf("factor-tucker", p, inputs);
    const found = tuckerFactors(problem, p);
    const stored = [found.input, found.core, found.output].map((x, i) =>
      encodeFactor("factor-tucker", x, outputs[i]!),
    );
    const [input, core, output] = stored.map((d) => Float64Array.from(asF32(d))) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    const made = tuckerProduct({ ranks: found.ranks, input, core, output }, problem.channels, problem.taps);
    const w = Float64Array.from(problem.weights);
    const difference = made.map((v, i) => w[i]! - v);
    const tail = [
      ...(mean === null ? [] : [bytesOf(Float32Array.from(biasCorrection(w, made, mean)))]),
      bytesOf(Float64Array.of(energyOf(difference, problem), energyOf(w, problem))),
    ];
    return [...stored, ...tail.map((bytes, i) => ({ ...outputs[3 + i]!, bytes }))];
  },
});

/** How the energy of a convolution's weight spreads over both modes. */
export const tuckerSpectraKernel = defineKernel<Params>({
  name: "tucker-spectra",
  version: 1,
  scratch: scratchOf,
  evaluate(p, inputs, outputs) {
    const { input, output } = tuckerSpectra(problemOf("tucker-spectra", p, inputs).problem);
    return [input, output].map((x, i) => ({ ...outputs[i]!, bytes: bytesOf(x) }));
  },
});

/** A convolution as 1×1 · k×k · 1×1. */
export interface TuckerTensors {
  /** [input rank, channels, 1, 1]. */
  readonly input: Tensor;
  /** [output rank, input rank, height, width]. */
  readonly core: Tensor;
  /** [outputs, output rank, 1, 1]. */
  readonly output: Tensor;
  /** What the bias gains, f32 [outputs]; `null` without a mean. */
  readonly correction: Tensor | null;
  /** f64 [2]: noise and signal of the output as predicted. */
  readonly figures: Tensor;
}

/** How {@link tuckerTensors} weighs errors. */
export interface TuckerOptions {
  readonly damp: number;
  /** `null`: plain HOSVD. */
  readonly statistics: FactorStatistics | null;
}

function kernelInputs(w: Tensor, { damp, statistics: s }: TuckerOptions) {
  requireFloat(w);
  const params: Params = { gram: s !== null, mean: s !== null && s.mean !== null, damp };
  return {
    params,
    inputs: [w, ...(s === null ? [] : [s.gram]), ...(s === null || s.mean === null ? [] : [s.mean])],
  };
}

/** Factors the weight of a convolution, [outputs, channels, height, width]; ranks at most its channels and outputs. */
export function tuckerTensors(w: Tensor, ranks: TuckerRanks, o: TuckerOptions): TuckerTensors {
  const { params, inputs } = kernelInputs(w, o);
  const [outputs, channels, height, width] = w.dims as [number, number, number, number];
  const { dtype } = w;
  const types: KernelType[] = [
    { dtype, dims: [ranks.input, channels, 1, 1] },
    { dtype, dims: [ranks.output, ranks.input, height, width] },
    { dtype, dims: [outputs, ranks.output, 1, 1] },
    ...(params.mean ? [{ dtype: "f32" as const, dims: [outputs] }] : []),
    { dtype: "f64", dims: [2] },
  ];
  const made = factorTuckerKernel.derive({ ...params, ...ranks }, inputs, types);
  return {
    input: made[0]!,
    core: made[1]!,
    output: made[2]!,
    correction: params.mean ? made[3]! : null,
    figures: made.at(-1)!,
  };
}

/** f64: squared singular values of the input and the output mode, descending. */
export function tuckerSpectraTensors(
  w: Tensor,
  o: TuckerOptions,
): { readonly input: Tensor; readonly output: Tensor } {
  const { params, inputs } = kernelInputs(w, o);
  const types: KernelType[] = [
    { dtype: "f64", dims: [w.dims[1]!] },
    { dtype: "f64", dims: [w.dims[0]!] },
  ];
  const [input, output] = tuckerSpectraKernel.derive(params, inputs, types);
  return { input: input!, output: output! };
}
