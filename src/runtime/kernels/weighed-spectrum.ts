import type { Tensor } from "../../ir/tensor.ts";
import { weighedSpectrum } from "../../numeric/factorize/low-rank.ts";
import { bytesOf } from "./elements.ts";
import { type FactorParams, sidesOf, stackOf, stackScratch } from "./factor-inputs.ts";
import { type LowRankOptions, stackInputs } from "./factor-low-rank.ts";
import { defineKernel } from "./kernel.ts";

/** How the energy of stacked weights spreads over their singular values. */
export const weighedSpectrumKernel = defineKernel<FactorParams>({
  name: "weighed-spectrum",
  version: 1,
  scratch: (p, inputs) => stackScratch(p, inputs),
  evaluate(p, inputs, outputs) {
    const { matrix, weighing } = stackOf("weighed-spectrum", p, inputs);
    const values = weighedSpectrum({ weights: matrix, weighing, damp: p.damp });
    return [{ ...outputs[0]!, bytes: bytesOf(values) }];
  },
});

/** f64: squared singular values, descending, of the weights that {@link lowRankTensors} would factor. */
export function spectrumTensor(weights: readonly Tensor[], o: Omit<LowRankOptions, "rank">): Tensor {
  const { params, inputs } = stackInputs(weights, o);
  const sides = weights.map((w) => sidesOf(w.dims, o.form));
  const rows = sides.reduce((n, s) => n + s.rows, 0);
  const dims = [Math.min(rows, sides[0]!.columns)];
  return weighedSpectrumKernel.derive(params, inputs, [{ dtype: "f64", dims }])[0]!;
}
