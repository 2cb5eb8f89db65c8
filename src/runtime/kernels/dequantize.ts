import { type DType, elementCount, isFloat } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { unpackNBits } from "../../numeric/nbits.ts";
import { dequantizeGroups } from "../../numeric/quantize/channel.ts";
import { asF32, elementsOf, encodeFloat } from "./elements.ts";
import { defineKernel, normalAxis, splitAxis } from "./kernel.ts";
import { type BlockOptions, type BlockQuantized, blockLayout } from "./quantize-blocks.ts";
import type { QuantizedTensor } from "./quantize-channel.ts";

type Params = { readonly axis: number | null; readonly blockSize: number | null };

/** (data - zeroPoint) · scale, as DequantizeLinear-21. */
export const dequantizeKernel = defineKernel<Params>({
  name: "dequantize",
  version: 1,
  scratch: (_p, [t]) => 5 * elementCount(t!.dims),
  evaluate(p, [data, scale, zero], [out]) {
    const q = elementsOf(data!);
    const z = zero === undefined ? null : elementsOf(zero);
    if (!small(q) || (z !== null && !small(z))) throw new Error(`cannot dequantize ${data!.dtype}`);
    const layout = p.axis === null ? { outer: 1, length: 1, inner: q.length } : splitAxis(data!.dims, p.axis);
    const x = dequantizeGroups(q, asF32(scale!), z, layout, p.blockSize);
    return [{ ...out!, bytes: encodeFloat(out!.dtype, x) }];
  },
});

function small(e: unknown): e is Int8Array | Uint8Array {
  return e instanceof Int8Array || e instanceof Uint8Array;
}

/** The floats a quantized weight stands for, in the type of its scale unless said. `axis` and `blockSize` as quantized. */
export function dequantizeTensor(
  t: Omit<QuantizedTensor, "zeroPoint"> & { readonly zeroPoint: Tensor | null },
  options: { readonly axis: number | null; readonly blockSize?: number; readonly dtype?: DType },
): Tensor {
  const dtype = options.dtype ?? t.scale.dtype;
  if (!isFloat(dtype)) throw new Error(`cannot dequantize to ${dtype}`);
  const axis = options.axis === null ? null : normalAxis(options.axis, t.data.dims.length);
  const inputs = t.zeroPoint === null ? [t.data, t.scale] : [t.data, t.scale, t.zeroPoint];
  const params: Params = { axis, blockSize: options.blockSize ?? null };
  return dequantizeKernel.derive(params, inputs, [{ dtype, dims: t.data.dims }])[0]!;
}

type BlockParams = Pick<BlockOptions, "bits" | "blockSize" | "order">;

/** The weight a MatMulNBits node multiplies with. */
export const dequantizeBlocksKernel = defineKernel<BlockParams>({
  name: "dequantize-blocks",
  version: 1,
  scratch: (_p, _i, [out]) => 8 * elementCount(out!.dims),
  evaluate(p, [packed, scales, zeroPoints], [out]) {
    const w = { packed: packed!.bytes, scales: asF32(scales!), zeroPoints: zeroPoints?.bytes ?? null };
    return [{ ...out!, bytes: encodeFloat(out!.dtype, unpackNBits(w, blockLayout(out!.dims, p))) }];
  },
});

/** The weight behind MatMulNBits inputs, in the order it was packed from ([K, N] or [N, K]). */
export function dequantizeBlocks(w: BlockQuantized, options: BlockParams): Tensor {
  const inputs = w.zeroPoints === null ? [w.packed, w.scales] : [w.packed, w.scales, w.zeroPoints];
  const dims = options.order === "KN" ? [w.K, w.N] : [w.N, w.K];
  const { bits, blockSize, order } = options;
  return dequantizeBlocksKernel.derive({ bits, blockSize, order }, inputs, [
    { dtype: w.scales.dtype, dims },
  ])[0]!;
}
