import type { Tensor } from "../../ir/tensor.ts";
import { quantizeAxisBlocks } from "../../numeric/quantize/channel.ts";
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
import type { QuantizedTensor } from "./quantize-channel.ts";

type Params = GridParams & { readonly axis: number; readonly blockSize: number };

/** Integers with one scale and zero point per block of consecutive elements along an axis. */
export const quantizeGroupsKernel = defineKernel<Params>({
  name: "quantize-groups",
  version: 1,
  scratch: (p, [t]) => quantizeScratch(t!, t!.dims[p.axis]!),
  evaluate(p, [x], [data, scale, zero]) {
    const weights = finiteWeights("quantize-groups", x!);
    const r = quantizeAxisBlocks(weights, splitAxis(x!.dims, p.axis), p.blockSize, quantizeOptions(p));
    return [
      { ...data!, bytes: encodeSmallInt(data!.dtype, r.q) },
      { ...scale!, bytes: encodeFloat(scale!.dtype, r.scale) },
      { ...zero!, bytes: encodeSmallInt(zero!.dtype, r.zero) },
    ];
  },
});

/**
 * Quantizes block-wise along `axis`, as DequantizeLinear-21 with `block_size` reads it: `scale` and `zeroPoint` have the
 * shape of the tensor with ceil(length / blockSize) on that axis.
 */
export function quantizeGroups(
  t: Tensor,
  options: GridOptions & { readonly axis: number; readonly blockSize: number },
): QuantizedTensor {
  requireFloat(t);
  const axis = normalAxis(options.axis, t.dims.length);
  const { blockSize } = options;
  if (!Number.isInteger(blockSize) || blockSize < 1) throw new Error(`block size ${blockSize}`);
  const params = { ...gridParams(options), axis, blockSize };
  const dims = t.dims.map((d, i) => (i === axis ? Math.ceil(d / blockSize) : d));
  const dtype = gridType(params);
  const [data, scale, zeroPoint] = quantizeGroupsKernel.derive(
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
