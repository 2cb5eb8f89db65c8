import { elementCount } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { asF32, encodeSmallInt, f32Scratch } from "./elements.ts";
import { defineKernel, splitAxis } from "./kernel.ts";

/** `zero` is left out for int8. */
type Params = { readonly outAxis: number; readonly inAxis: number; readonly zero?: number };

const LIMIT = 127;

/**
 * round(w · factor[in] / scale[out]) within ±127, plus the zero point: weights on a scale found before. The product is
 * rounded to single precision first, as it was when the scale was found.
 */
export const quantizeScaledKernel = defineKernel<Params>({
  name: "quantize-scaled",
  version: 2,
  scratch: (_p, [t]) => f32Scratch(t!) + elementCount(t!.dims),
  evaluate({ outAxis, inAxis, zero }, inputs, [out]) {
    const [w, factor, scale] = inputs.map(asF32) as [Float32Array, Float32Array, Float32Array];
    const o = splitAxis(out!.dims, outAxis);
    const c = splitAxis(out!.dims, inAxis);
    const q = zero === undefined ? new Int8Array(w.length) : new Uint8Array(w.length);
    for (let i = 0; i < w.length; i++) {
      const n = Math.floor(i / o.inner) % o.length;
      const k = Math.floor(i / c.inner) % c.length;
      const v = Math.round(Math.fround(w[i]! * factor[k]!) / scale[n]!);
      q[i] = Math.min(LIMIT, Math.max(-LIMIT, v)) + (zero ?? 0);
    }
    return [{ ...out!, bytes: encodeSmallInt(out!.dtype, q) }];
  },
});

/**
 * Quantizes a weight with a factor per input channel and a scale per output channel, both float32 vectors: to int8, or
 * to uint8 around a zero point other than 0 (128).
 */
export function quantizeScaled(
  t: Tensor,
  options: {
    readonly outAxis: number;
    readonly inAxis: number;
    readonly factor: Tensor;
    readonly scale: Tensor;
    readonly zero?: number;
  },
): Tensor {
  const { outAxis, inAxis, factor, scale, zero = 0 } = options;
  return quantizeScaledKernel.derive(
    { outAxis, inAxis, ...(zero !== 0 && { zero }) },
    [t, factor, scale],
    [{ dtype: zero === 0 ? "i8" : "u8", dims: t.dims }],
  )[0]!;
}
