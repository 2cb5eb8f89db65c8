import { claims } from "../claims.ts";
import type { Machine } from "../machine.ts";
import type { Source } from "../target.ts";

const NO_OVERHEAD = { node: 0, view: 0 };

/** A datacenter GPU. fp32 products run as TF32, which both CUDA and TensorRT providers do unless told otherwise. */
export const H100: Machine = {
  name: "an H100 SXM",
  basis: "published",
  flops: { f32: 494.7e12, f16: 989.4e12, bf16: 989.4e12, f8e4m3fn: 1978.9e12, i8: 1978.9e12 },
  other: { statistics: 66.9e12, pointwise: 66.9e12 },
  bandwidth: 3.35e12,
  overhead: NO_OVERHEAD,
};

/** Where the numbers of {@link H100} are from. */
export const H100_CLAIMS: readonly Source[] = [
  ...claims(
    "NVIDIA's data sheet of the H100, tabulated at glennklockwood.com/garden/processors/h100",
    "2026-11-26",
    {
      machine:
        "dense peaks of the SXM5 card: 494.7 TFLOPS in TF32, 989.4 in fp16 and bfloat16, 1978.9 in fp8 and int8, 66.9 in fp32 outside of tensor cores; 3.35 TB/s; it has no fp4 arithmetic; no time to start a kernel was found: none is counted",
    },
  ),
];

/** A consumer GPU. */
export const RTX_5090: Machine = {
  name: "a GeForce RTX 5090",
  basis: "published",
  flops: { f32: 104.8e12, f16: 419e12, bf16: 209.5e12, f8e4m3fn: 838e12, i8: 838e12, f4e2m1: 1676e12 },
  bandwidth: 1.792e12,
  overhead: NO_OVERHEAD,
};

/** Where the numbers of {@link RTX_5090} are from. */
export const RTX_5090_CLAIMS: readonly Source[] = claims(
  "NVIDIA's specification of the RTX 5090, as reported in 2025 and 2026",
  "2026-11-26",
  {
    machine:
      "3352 TOPS are stated for fp4 with sparsity; dense: 1676 in fp4, 838 in fp8 and int8, 419 in fp16 added in fp16 and 209.5 added in fp32 (bfloat16), 104.8 in fp32; 1792 GB/s; no time to start a kernel was found: none is counted",
  },
);
