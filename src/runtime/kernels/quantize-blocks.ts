import type { Tensor } from "../../ir/tensor.ts";
import { type NBitsLayout, packNBits } from "../../numeric/nbits.ts";
import type { ScaleType } from "../../numeric/quantize/grid.ts";
import { encodeFloat } from "./elements.ts";
import { defineKernel } from "./kernel.ts";
import { finiteWeights, quantizeScratch, rangeSearch, requireFloat, type Search } from "./quantize.ts";

type Params = {
  readonly bits: 2 | 4 | 8;
  readonly blockSize: number;
  readonly order: "KN" | "NK";
  readonly symmetric: boolean;
  readonly search: Search;
  readonly scaleType: ScaleType;
};

/** How a MatMul weight is packed for `com.microsoft.MatMulNBits`. */
export interface BlockOptions {
  readonly bits: 2 | 4 | 8;
  /** A power of two, 16 at least. */
  readonly blockSize: number;
  /** `KN`: [in, out] as MatMul has it; `NK`: [out, in] as Gemm with transB has it. */
  readonly order: "KN" | "NK";
  /** No zero points (2^(bits-1) implied); default true. */
  readonly symmetric?: boolean;
  /** Default `none`. */
  readonly search?: Search;
  /** Must be the type of the activations; default `f32`. */
  readonly scaleType?: ScaleType;
}

/** Inputs B, scales and zero_points of a MatMulNBits node. `zeroPoints` is `null` for symmetric weights. */
export interface BlockQuantized {
  readonly packed: Tensor;
  readonly scales: Tensor;
  readonly zeroPoints: Tensor | null;
  readonly K: number;
  readonly N: number;
}

/** K, N and block layout of a matrix with dims `dims`. */
export function blockLayout(
  dims: readonly number[],
  p: Pick<Params, "bits" | "blockSize" | "order">,
): NBitsLayout {
  const [a, b] = dims as [number, number];
  const { bits, blockSize, order } = p;
  return order === "KN" ? { K: a, N: b, bits, blockSize, order } : { K: b, N: a, bits, blockSize, order };
}

/** Block-wise unsigned integers packed along K for MatMulNBits. */
export const quantizeBlocksKernel = defineKernel<Params>({
  name: "quantize-blocks",
  version: 1,
  scratch: (p, [t]) => quantizeScratch(t!, blockLayout(t!.dims, p).K),
  evaluate(p, [x], [packed, scales, zeroPoints]) {
    const weights = finiteWeights("quantize-blocks", x!);
    const { symmetric, scaleType } = p;
    const r = packNBits(weights, blockLayout(x!.dims, p), {
      symmetric,
      search: rangeSearch(p.search),
      scaleType,
    });
    const data = { ...packed!, bytes: r.packed };
    const scale = { ...scales!, bytes: encodeFloat(scaleType, r.scales) };
    return r.zeroPoints === null ? [data, scale] : [data, scale, { ...zeroPoints!, bytes: r.zeroPoints }];
  },
});

/** Packs a [K, N] or [N, K] weight for `com.microsoft.MatMulNBits`; see targets' sources for the layout. */
export function quantizeBlocks(t: Tensor, options: BlockOptions): BlockQuantized {
  requireFloat(t);
  if (t.dims.length !== 2) throw new Error(`MatMulNBits takes a matrix, not [${t.dims}]`);
  const { bits, blockSize, order } = options;
  if (blockSize < 16 || !Number.isInteger(Math.log2(blockSize))) throw new Error(`block size ${blockSize}`);
  const params: Params = {
    bits,
    blockSize,
    order,
    symmetric: options.symmetric ?? true,
    search: options.search ?? "none",
    scaleType: options.scaleType ?? "f32",
  };
  const { K, N } = blockLayout(t.dims, params);
  const blocks = Math.ceil(K / blockSize);
  const outputs = [
    { dtype: "u8" as const, dims: [N, blocks, (blockSize * bits) / 8] },
    { dtype: params.scaleType, dims: [N, blocks] },
    ...(params.symmetric ? [] : [{ dtype: "u8" as const, dims: [N, Math.ceil((blocks * bits) / 8)] }]),
  ];
  const [packed, scales, zeroPoints] = quantizeBlocksKernel.derive(params, [t], outputs);
  return { packed: packed!, scales: scales!, zeroPoints: zeroPoints ?? null, K, N };
}
