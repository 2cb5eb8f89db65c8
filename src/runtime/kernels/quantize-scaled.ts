import { elementCount } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { f32ToMini } from "../../numeric/minifloat.ts";
import { asF32, encodeSmallInt, f32Scratch } from "./elements.ts";
import { defineKernel, splitAxis } from "./kernel.ts";

/** `zero` is left out for int8. */
type Params = { readonly outAxis: number; readonly inAxis: number; readonly zero?: number };

const LIMIT = 127;

/**
 * round(w · factor[in] / scale[out]) within ±127, plus the zero point: weights on a scale found before. The product is
 * rounded to single precision first, as it was when the scale was found. To E4M3FN the quotient is rounded to the nearest
 * of its numbers, ties to even.
 */
export const quantizeScaledKernel = defineKernel<Params>({
  name: "quantize-scaled",
  version: 2,
  scratch: (_p, [t]) => f32Scratch(t!) + elementCount(t!.dims),
  evaluate({ outAxis, inAxis, zero }, inputs, [out]) {
    const [w, factor, scale] = inputs.map(asF32) as [Float32Array, Float32Array, Float32Array];
    const o = splitAxis(out!.dims, outAxis);
    const c = splitAxis(out!.dims, inAxis);
    if (out!.dtype === "f8e4m3fn") {
      const scaled = w.map((v, i) => {
        const n = Math.floor(i / o.inner) % o.length;
        const k = Math.floor(i / c.inner) % c.length;
        return Math.fround(v * factor[k]!) / scale[n]!;
      });
      return [{ ...out!, bytes: f32ToMini("f8e4m3fn", scaled) }];
    }
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
 * to uint8 around a zero point other than 0 (128), or with `float8` to E4M3FN.
 */
export function quantizeScaled(
  t: Tensor,
  options: {
    readonly outAxis: number;
    readonly inAxis: number;
    readonly factor: Tensor;
    readonly scale: Tensor;
    readonly zero?: number;
    readonly float8?: boolean;
  },
): Tensor {
  const { outAxis, inAxis, factor, scale, zero = 0, float8 = false } = options;
  const dtype = float8 ? "f8e4m3fn" : zero === 0 ? "i8" : "u8";
  return quantizeScaledKernel.derive(
    { outAxis, inAxis, ...(zero !== 0 && { zero }) },
    [t, factor, scale],
    [{ dtype, dims: t.dims }],
  )[0]!;
}
