import { claims } from "../claims.ts";
import type { Machine } from "../machine.ts";
import type { Source } from "../target.ts";

/** Memory both share. */
const BANDWIDTH = 136e9;
const ANNOUNCEMENT = "Qualcomm's announcement of Snapdragon X Elite, as reported in October 2023";

/** A laptop GPU as WebGPU meets it. */
export const ADRENO_X: Machine = {
  name: "the Adreno GPU of a Snapdragon X Elite",
  basis: "published",
  flops: { f32: 4.6e12 },
  bandwidth: BANDWIDTH,
  overhead: { node: 24e-6, view: 0 },
};

/** Where the numbers of {@link ADRENO_X} are from. */
export const ADRENO_X_CLAIMS: readonly Source[] = [
  ...claims(ANNOUNCEMENT, "2026-11-26", {
    machine:
      "4.6 TFLOPS in fp32; LPDDR5X memory of 136 GB/s; no figure for fp16 was found, which counts like fp32",
  }),
  ...claims("arXiv:2604.02344", "2026-11-26", {
    machine:
      "a dispatch of WebGPU costs 24 to 36 microseconds on Vulkan and 32 to 71 on Metal; the least of it is counted",
  }),
];

/** A laptop NPU. */
export const HEXAGON_X: Machine = {
  name: "the Hexagon NPU of a Snapdragon X Elite",
  basis: "published",
  flops: { i8: 45e12 },
  bandwidth: BANDWIDTH,
  overhead: { node: 0, view: 0 },
};

/** Where the numbers of {@link HEXAGON_X} are from. */
export const HEXAGON_X_CLAIMS: readonly Source[] = claims(ANNOUNCEMENT, "2026-11-26", {
  machine:
    "45 TOPS in int8; LPDDR5X memory of 136 GB/s; no figures for fp16 or for starting a node were found: neither is counted",
});
