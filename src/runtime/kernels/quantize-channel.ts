import { elementCount } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { quantizeChannels } from "../../numeric/quantize/channel.ts";
import { encodeFloat, encodeSmallInt } from "./elements.ts";
import { defineKernel, normalAxis, splitAxis } from "./kernel.ts";
import {
  finiteWeights,
  type GridOptions,
  type GridParams,
  gridParams,
  gridType,
  quantizeOptions,
  quantizeScratch,
  requireFloat,
} from "./quantize.ts";

type Params = GridParams & { readonly axis: number | null };

const whole = (dims: readonly number[]) => ({ outer: 1, length: 1, inner: elementCount(dims) });

/** Integers with one scale and zero point per index of an axis, or one for the whole tensor. */
export const quantizeChannelKernel = defineKernel<Params>({
  name: "quantize-channel",
  version: 1,
  scratch: (p, [t]) => {
    const rows = p.axis === null ? 1 : Math.max(1, t!.dims[p.axis]!);
    return quantizeScratch(t!, elementCount(t!.dims) / rows);
  },
  evaluate(p, [x], [data, scale, zero]) {
    const layout = p.axis === null ? whole(x!.dims) : splitAxis(x!.dims, p.axis);
    const r = quantizeChannels(finiteWeights("quantize-channel", x!), layout, quantizeOptions(p));
    return [
      { ...data!, bytes: encodeSmallInt(data!.dtype, r.q) },
      { ...scale!, bytes: encodeFloat(scale!.dtype, r.scale) },
      { ...zero!, bytes: encodeSmallInt(zero!.dtype, r.zero) },
    ];
  },
});

/** A quantized weight as DequantizeLinear takes it: x ≈ (data - zeroPoint) · scale. */
export interface QuantizedTensor {
  readonly data: Tensor;
  readonly scale: Tensor;
  readonly zeroPoint: Tensor;
}

/**
 * Quantizes to 2, 4 or 8 bits with one scale per index of `axis` (`null`: one for the tensor). `data` keeps the shape,
 * `scale` and `zeroPoint` are vectors, or scalars for the whole tensor.
 */
export function quantizeChannel(
  t: Tensor,
  options: GridOptions & { readonly axis: number | null },
): QuantizedTensor {
  requireFloat(t);
  const axis = options.axis === null ? null : normalAxis(options.axis, t.dims.length);
  const params = { ...gridParams(options), axis };
  const dims = axis === null ? [] : [t.dims[axis]!];
  const dtype = gridType(params);
  const [data, scale, zeroPoint] = quantizeChannelKernel.derive(
    params,
    [t],
    [
      { dtype, dims: t.dims },
      { dtype: params.scaleType, dims },
      { dtype, dims },
    ],
  );
  return { data: data!, scale: scale!, zeroPoint: zeroPoint! };
}
