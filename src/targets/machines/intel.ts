import { claims } from "../claims.ts";
import type { Machine } from "../machine.ts";
import type { Source } from "../target.ts";

/** LPDDR5X-8533 on 128 bits, which all three share. */
const SHARED = { basis: "published", bandwidth: 136.5e9, overhead: { node: 0, view: 0 } } as const;

/** A laptop NPU: float models of any width are computed in fp16. */
export const LUNAR_LAKE_NPU: Machine = {
  ...SHARED,
  name: "the NPU of a Core Ultra 200V",
  flops: { f32: 24e12, f16: 24e12, i8: 48e12 },
};

/** The GPU beside it. */
export const LUNAR_LAKE_GPU: Machine = {
  ...SHARED,
  name: "the GPU of a Core Ultra 200V",
  flops: { f32: 4.2e12, f16: 33.5e12, i8: 67e12 },
};

/** The cores beside them, all together. */
export const LUNAR_LAKE_CPU: Machine = {
  ...SHARED,
  name: "the cores of a Core Ultra 200V",
  flops: { f32: 1.25e12, i8: 5e12 },
};

/** Where the numbers of Lunar Lake are from. */
export const LUNAR_LAKE_CLAIMS: readonly Source[] = [
  ...claims("Intel's Lunar Lake AI hardware accelerators, Tech Tour of June 2024", "2026-11-26", {
    machine:
      "in int8 48 TOPS of the NPU, 67 of the GPU and 5 of the cores; LPDDR5X-8533 memory of 136.5 GB/s; no time to start a node was found: none is counted",
  }),
  ...claims("AnandTech's article on Lunar Lake, June 2024", "2026-11-26", {
    machine: "an engine of the NPU does 2048 multiply-adds a cycle in int8 and 1024 in fp16: 24 TFLOPS",
  }),
  ...claims("widths of Intel's vector and matrix units", "2026-11-26", {
    machine:
      "derived, not stated: XMX does half as much in fp16 as in int8; 1024 fp32 lanes of the GPU at 2.05 GHz give 4.2 TFLOPS; an fp32 multiply-add of AVX2 does a quarter of what VNNI does in 8 bits",
  }),
];
