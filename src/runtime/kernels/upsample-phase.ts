import { type DType, elementCount, isFloat } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { asF32, encodeFloat, f32Scratch } from "./elements.ts";
import { defineKernel, describeType } from "./kernel.ts";

type Params = { readonly row: 0 | 1; readonly column: 0 | 1 };

/** Which of the two pixels of a phase each of the three taps of an axis falls on. */
const PIXEL: readonly (readonly number[])[] = [
  [0, 1, 1],
  [0, 0, 1],
];

/**
 * The 2×2 weight with which one phase of a 3×3 convolution behind nearest ×2 upsampling sees the small image: taps that
 * fall on the same pixel are added up, in float64.
 */
export const upsamplePhaseKernel = defineKernel<Params>({
  name: "upsample-phase",
  version: 1,
  scratch: (_p, [t]) => f32Scratch(t!) + 8 * elementCount(t!.dims),
  evaluate({ row, column }, [x], [out]) {
    const w = asF32(x!);
    const filters = w.length / 9;
    const sums = new Float64Array(filters * 4);
    for (let f = 0; f < filters; f++)
      for (let i = 0; i < 3; i++)
        for (let j = 0; j < 3; j++) {
          const at = f * 4 + PIXEL[row]![i]! * 2 + PIXEL[column]![j]!;
          sums[at] = sums[at]! + w[f * 9 + i * 3 + j]!;
        }
    return [{ ...out!, bytes: encodeFloat(out!.dtype as DType, Float32Array.from(sums)) }];
  },
});

/** The weight `[M, C, 2, 2]` of phase (row, column) of a `[M, C, 3, 3]` weight. */
export function upsamplePhase(t: Tensor, phase: Params): Tensor {
  const [m, c, height, width] = t.dims;
  if (!isFloat(t.dtype) || t.dims.length !== 4 || height !== 3 || width !== 3)
    throw new Error(`a phase of ${describeType(t)}`);
  return upsamplePhaseKernel.derive(phase, [t], [{ dtype: t.dtype, dims: [m!, c!, 2, 2] }])[0]!;
}
