import type { Tensor } from "../../ir/tensor.ts";
import { product, transposed, viewOf } from "../../numeric/linalg/product.ts";
import { layerError } from "../../numeric/quantize/error.ts";
import { inputSpectrum } from "../../numeric/share/basis.ts";
import { bytesOf, elementsOf } from "./elements.ts";
import { type Order, sizesOf } from "./fit-inputs.ts";
import { defineKernel, type KernelType } from "./kernel.ts";
import { finiteWeights } from "./quantize.ts";

type Params = {
  /** Which way each weight lies. */
  readonly orders: readonly Order[];
  readonly rank: number;
  readonly damp: number;
};

/** One basis of the inputs for several weights; the Gram matrix f64 [in, in] is the last input. */
export const shareBasisKernel = defineKernel<Params>({
  name: "share-basis",
  version: 1,
  scratch: (p, inputs) => {
    const { columns } = sizesOf(inputs[0]!.dims, p.orders[0]!);
    const outputs = inputs.slice(0, -1).reduce((n, t, i) => n + sizesOf(t.dims, p.orders[i]!).rows, 0);
    return 8 * (4 * outputs * columns + 8 * columns * columns);
  },
  evaluate(p, inputs, outputs) {
    const gram = elementsOf(inputs.at(-1)!) as Float64Array;
    const { columns } = sizesOf(inputs[0]!.dims, p.orders[0]!);
    const weights = p.orders.map((order, i) => {
      const w = Float64Array.from(finiteWeights("share-basis", inputs[i]!));
      return order === "KN" ? transposed(w, columns, w.length / columns) : w;
    });
    const found = inputSpectrum({ weights, columns, gram }, p.damp).basis(p.rank);
    const down = Float32Array.from(transposed(found.down, p.rank, columns));
    const ups = found.ups.map((u) => Float32Array.from(transposed(u, u.length / p.rank, p.rank)));
    const figures = new Float64Array(2 * weights.length);
    for (const [i, w] of weights.entries()) {
      const rows = w.length / columns;
      // Of the factors as they are stored.
      const up = transposed(Float64Array.from(ups[i]!), p.rank, rows);
      const approximation = product(
        viewOf(up, rows, p.rank),
        viewOf(Float64Array.from(down), columns, p.rank),
      );
      const { noise, signal } = layerError(w, approximation, { rows, columns, gram });
      figures.set([noise, signal], 2 * i);
    }
    const all = [bytesOf(down), ...ups.map(bytesOf), bytesOf(figures)];
    return all.map((bytes, i) => ({ ...outputs[i]!, bytes }));
  },
});

/** Weights behind one basis. */
export interface BasisTensors {
  /** f32 [in, rank]. */
  readonly down: Tensor;
  /** f32 [rank, out], one per weight. */
  readonly ups: readonly Tensor[];
  /** f64 [2 · weights]: noise and signal of each layer's output as predicted. */
  readonly figures: Tensor;
}

/** Factors float matrices over the same inputs by one basis of `rank`; `gram` is f64 [in, in]. */
export function shareBasis(
  weights: readonly { readonly tensor: Tensor; readonly order: Order }[],
  gram: Tensor,
  options: { readonly rank: number; readonly damp: number },
): BasisTensors {
  const { rank } = options;
  const sizes = weights.map((w) => sizesOf(w.tensor.dims, w.order));
  const outputs: KernelType[] = [
    { dtype: "f32", dims: [sizes[0]!.columns, rank] },
    ...sizes.map((s): KernelType => ({ dtype: "f32", dims: [rank, s.rows] })),
    { dtype: "f64", dims: [2 * weights.length] },
  ];
  const params: Params = { ...options, orders: weights.map((w) => w.order) };
  const made = shareBasisKernel.derive(params, [...weights.map((w) => w.tensor), gram], outputs);
  return { down: made[0]!, ups: made.slice(1, -1), figures: made.at(-1)! };
}
