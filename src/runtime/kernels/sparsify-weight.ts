import { elementCount } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { type PatternName, patternOf } from "../../numeric/sparsify/pattern.ts";
import { type Criterion, pruneWeight, type Repair } from "../../numeric/sparsify/prune-weight.ts";
import { encodeFloat } from "./elements.ts";
import { conclusions, type FitInputs, laid, problemParts, sizesOf } from "./fit-inputs.ts";
import { defineKernel, describeType, type KernelType } from "./kernel.ts";
import { requireFloat } from "./quantize.ts";

type Params = FitInputs & {
  readonly criterion: Criterion;
  readonly repair: Repair;
  readonly pattern: PatternName;
  readonly ratio: number;
  readonly taps: number;
  readonly damp: number;
  readonly actOrder: boolean;
};

/** Sets weights of a matrix to zero and repairs the others from the Gram matrix of its input. */
export const sparsifyWeightKernel = defineKernel<Params>({
  name: "sparsify-weight",
  version: 1,
  scratch: (p, [t]) => {
    const { columns } = sizesOf(t!.dims, p.order);
    return 8 * (10 * elementCount(t!.dims) + (p.gram ? 5 * columns * columns : 0));
  },
  evaluate(p, inputs, outputs) {
    const { parts, mean } = problemParts("sparsify-weight", p, inputs);
    const { criterion, repair, taps, damp, actOrder } = p;
    const pattern = patternOf(p.pattern, p.ratio);
    const found = pruneWeight(parts, { criterion, repair, pattern, taps, damp, actOrder });
    const weight = laid(found.approximation, parts.rows, parts.columns, p.order);
    const all = [encodeFloat(outputs[0]!.dtype, weight), ...conclusions(parts.weights, found, mean)];
    return all.map((bytes, i) => ({ ...outputs[i]!, bytes }));
  },
});

/** How {@link sparsifyTensor} goes about a matrix. */
export interface SparsifyOptions {
  /** `KN`: [in, out] as MatMul has it; `NK`: [out, in]. */
  readonly order: "KN" | "NK";
  readonly criterion: Criterion;
  readonly repair: Repair;
  readonly pattern: PatternName;
  /** Share of zeros; `n:m` patterns say it themselves. */
  readonly ratio: number;
  /** Taps of a convolution's kernel behind each input channel; 1 for matrix products. */
  readonly taps: number;
  readonly damp: number;
  readonly actOrder: boolean;
  /** Gram matrix of the layer's input, f64 [in, in]; without one magnitudes decide and nothing is repaired. */
  readonly gram: Tensor | null;
  /** Mean input, f64 [in], when the layer's bias can take up what the mean of the output changes by. */
  readonly mean: Tensor | null;
}

/** A weight with zeros; everything comes from one evaluation. */
export interface SparsifiedTensors {
  /** Shape and type of the original. */
  readonly weight: Tensor;
  /** What the bias gains, f32 [out]; `null` without a mean. */
  readonly correction: Tensor | null;
  /** f64 [4]: noise and signal of the output as predicted, Σ (w - ŵ)² and Σ w² of the weight. */
  readonly figures: Tensor;
}

/** Sparsifies a float matrix that fits the pattern; see {@link SparsifyOptions}. */
export function sparsifyTensor(t: Tensor, options: SparsifyOptions): SparsifiedTensors {
  requireFloat(t);
  if (t.dims.length !== 2) throw new Error(`a matrix is sparsified, not ${describeType(t)}`);
  const { gram, mean, ...rest } = options;
  if (mean !== null && gram === null) throw new Error("a mean is of no use without a Gram matrix");
  const { rows } = sizesOf(t.dims, options.order);
  const outputs: KernelType[] = [
    { dtype: t.dtype, dims: t.dims },
    ...(mean === null ? [] : [{ dtype: "f32" as const, dims: [rows] }]),
    { dtype: "f64", dims: [4] },
  ];
  const inputs = [t, ...(gram === null ? [] : [gram]), ...(mean === null ? [] : [mean])];
  const params: Params = { ...rest, gram: gram !== null, mean: mean !== null };
  const made = sparsifyWeightKernel.derive(params, inputs, outputs);
  return { weight: made[0]!, correction: mean === null ? null : made[1]!, figures: made.at(-1)! };
}
