import { claims } from "../claims.ts";
import type { Machine } from "../machine.ts";
import type { Source } from "../target.ts";

/** A laptop chip: fp16 programs on its Neural Engine, fp32 on its GPU. */
export const APPLE_M2: Machine = {
  name: "the Neural Engine of an Apple M2",
  basis: "published",
  flops: { f32: 3.6e12, f16: 15.8e12 },
  bandwidth: 100e9,
  overhead: { node: 0, view: 0 },
};

/** Where the numbers of {@link APPLE_M2} are from. */
export const APPLE_M2_CLAIMS: readonly Source[] = [
  ...claims("Apple's announcement of the M2, June 2022", "2026-11-26", {
    machine:
      "15.8 trillion operations a second on the Neural Engine, 3.6 TFLOPS in fp32 on the GPU, which runs what is not fp16; 100 GB/s; no time to start a node was found: none is counted; figures as generally reported, not read again in the source",
  }),
  ...claims("Apple machine learning research on transformers on the Neural Engine, 2022", "2026-11-26", {
    machine: "the 15.8 of the same engine in the A15 are teraflops in fp16",
  }),
];
