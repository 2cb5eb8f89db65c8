import { elementCount } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { asF32, encodeSmallInt, f32Scratch } from "./elements.ts";
import { defineKernel, splitAxis } from "./kernel.ts";

type Params = { readonly outAxis: number; readonly inAxis: number };

const LIMIT = 127;

/** round(w · factor[in] / scale[out]) within ±127 as int8: weights on a scale found before. */
export const quantizeScaledKernel = defineKernel<Params>({
  name: "quantize-scaled",
  version: 1,
  scratch: (_p, [t]) => f32Scratch(t!) + elementCount(t!.dims),
  evaluate({ outAxis, inAxis }, inputs, [out]) {
    const [w, factor, scale] = inputs.map(asF32) as [Float32Array, Float32Array, Float32Array];
    const o = splitAxis(out!.dims, outAxis);
    const c = splitAxis(out!.dims, inAxis);
    const q = new Int8Array(w.length);
    for (let i = 0; i < w.length; i++) {
      const n = Math.floor(i / o.inner) % o.length;
      const k = Math.floor(i / c.inner) % c.length;
      q[i] = Math.min(LIMIT, Math.max(-LIMIT, Math.round((w[i]! * factor[k]!) / scale[n]!)));
    }
    return [{ ...out!, bytes: encodeSmallInt("i8", q) }];
  },
});

/** Quantizes a weight to int8 with a factor per input channel and a scale per output channel, both float32 vectors. */
export function quantizeScaled(
  t: Tensor,
  options: {
    readonly outAxis: number;
    readonly inAxis: number;
    readonly factor: Tensor;
    readonly scale: Tensor;
  },
): Tensor {
  const { outAxis, inAxis, factor, scale } = options;
  return quantizeScaledKernel.derive(
    { outAxis, inAxis },
    [t, factor, scale],
    [{ dtype: "i8", dims: t.dims }],
  )[0]!;
}
