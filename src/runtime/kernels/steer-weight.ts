import type { Tensor } from "../../ir/tensor.ts";
import { transposed } from "../../numeric/linalg/product.ts";
import { steer } from "../../numeric/quantize/steer.ts";
import { bytesOf, elementsOf, encodeFloat } from "./elements.ts";
import { laid, type Order, sizesOf } from "./fit-inputs.ts";
import { defineKernel, describeType, type KernelType } from "./kernel.ts";
import { finiteWeights, requireFloat } from "./quantize.ts";

type Params = { readonly order: Order; readonly damp: number | null; readonly means: boolean };

/** Moves weights towards what their layer needs behind a compressed prefix. */
export const steerWeightKernel = defineKernel<Params>({
  name: "steer-weight",
  version: 1,
  scratch: (p, [t]) => {
    const { rows, columns } = sizesOf(t!.dims, p.order);
    return 8 * (4 * rows * columns + 4 * columns * columns);
  },
  evaluate(p, inputs, outputs) {
    const { rows, columns } = sizesOf(inputs[0]!.dims, p.order);
    const w = Float64Array.from(finiteWeights("steer-weight", inputs[0]!));
    const [own, cross, ownMean, originalMean] = inputs.slice(1).map((d) => elementsOf(d) as Float64Array);
    const found = steer(
      {
        weights: p.order === "KN" ? transposed(w, columns, rows) : w,
        rows,
        columns,
        own: own!,
        cross: cross!,
        means: p.means ? { own: ownMean!, original: originalMean! } : null,
      },
      p.damp,
    );
    const weight = encodeFloat(outputs[0]!.dtype, laid(found.weights, rows, columns, p.order));
    const shift = found.shift === null ? [] : [bytesOf(Float32Array.from(found.shift))];
    return [weight, ...shift].map((bytes, i) => ({ ...outputs[i]!, bytes }));
  },
});

/** How {@link steerTensor} moves a matrix. */
export interface SteerTensorOptions {
  /** `KN`: [in, out] as MatMul has it; `NK`: [out, in] as Gemm with transB and flattened convolutions have it. */
  readonly order: Order;
  /** Share of the mean diagonal added to the Gram matrix; `null` leaves the matrix and finds only what the bias gains. */
  readonly damp: number | null;
  /** E x̂x̂ᵀ, f64 [in, in], of the inputs the layer will see. */
  readonly own: Tensor;
  /** E x̂xᵀ, f64 [in, in], with the inputs it was made for. */
  readonly cross: Tensor;
  /** E x̂ and E x, f64 [in], where the layer's bias can take up what the mean of the output changes by. */
  readonly means: { readonly own: Tensor; readonly original: Tensor } | null;
}

/** A matrix of the type of `t` for the inputs the layer will see, and what the bias gains, f32 [out], with means only. */
export function steerTensor(
  t: Tensor,
  options: SteerTensorOptions,
): { readonly weight: Tensor; readonly shift: Tensor | null } {
  requireFloat(t);
  if (t.dims.length !== 2) throw new Error(`a matrix is steered, not ${describeType(t)}`);
  const { order, damp, own, cross, means } = options;
  const outputs: KernelType[] = [
    { dtype: t.dtype, dims: t.dims },
    ...(means === null ? [] : [{ dtype: "f32" as const, dims: [sizesOf(t.dims, order).rows] }]),
  ];
  const inputs = [t, own, cross, ...(means === null ? [] : [means.own, means.original])];
  const made = steerWeightKernel.derive({ order, damp, means: means !== null }, inputs, outputs);
  return { weight: made[0]!, shift: made[1] ?? null };
}
