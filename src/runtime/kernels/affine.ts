import { elementCount, isFloat } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { asF32, encodeFloat, f32Scratch } from "./elements.ts";
import { defineKernel, normalAxis, splitAxis } from "./kernel.ts";

type Params = { readonly axis: number; readonly scale: boolean; readonly offset: boolean };

/** x · scale[c] + offset[c] along an axis, in float64, rounded once to the type of x. */
export const affineKernel = defineKernel<Params>({
  name: "affine",
  version: 1,
  scratch: (_p, [t]) => f32Scratch(t!) + 4 * elementCount(t!.dims),
  evaluate(p, inputs, [out]) {
    const [x, ...factors] = inputs.map(asF32) as [Float32Array, ...Float32Array[]];
    const { outer, length, inner } = splitAxis(inputs[0]!.dims, p.axis);
    const scale = p.scale ? factors[0]! : null;
    const offset = p.offset ? factors.at(-1)! : null;
    const y = new Float32Array(x.length);
    for (let o = 0; o < outer; o++)
      for (let c = 0; c < length; c++) {
        const s = scale === null ? 1 : scale[c]!;
        const b = offset === null ? 0 : offset[c]!;
        const end = (o * length + c + 1) * inner;
        for (let i = end - inner; i < end; i++) y[i] = x[i]! * s + b;
      }
    return [{ ...out!, bytes: encodeFloat(out!.dtype, y) }];
  },
});

/**
 * Multiplies by and adds a vector along an axis: how a normalisation's affine part or a per-channel scale is folded into
 * a weight. `scale` and `offset` are float vectors as long as the axis; at least one is needed.
 */
export function affineTensor(
  t: Tensor,
  options: { readonly axis: number; readonly scale?: Tensor; readonly offset?: Tensor },
): Tensor {
  const axis = normalAxis(options.axis, t.dims.length);
  const factors = [options.scale, options.offset].filter((f) => f !== undefined);
  if (factors.length === 0) return t;
  for (const f of [t, ...factors])
    if (!isFloat(f.dtype)) throw new Error(`affine takes floats, not ${f.dtype}`);
  for (const f of factors) {
    if (f.dims.length !== 1 || f.dims[0] !== t.dims[axis]) {
      throw new Error(`[${f.dims}] does not fit axis ${axis} of [${t.dims}]`);
    }
  }
  const params: Params = { axis, scale: options.scale !== undefined, offset: options.offset !== undefined };
  return affineKernel.derive(params, [t, ...factors], [{ dtype: t.dtype, dims: t.dims }])[0]!;
}
