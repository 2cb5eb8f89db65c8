import { claims } from "../claims.ts";
import type { Machine } from "../machine.ts";
import type { Source } from "../target.ts";

const NO_OVERHEAD = { node: 0, view: 0 };

/** A datacenter GPU. */
export const MI300X: Machine = {
  name: "an Instinct MI300X",
  basis: "published",
  flops: { f32: 163.4e12, f16: 1307.4e12, bf16: 1307.4e12, f8e4m3fnuz: 2614.9e12, i8: 2614.9e12 },
  bandwidth: 5.3e12,
  overhead: NO_OVERHEAD,
};

/** Where the numbers of {@link MI300X} are from. */
export const MI300X_CLAIMS: readonly Source[] = claims(
  "AMD's data sheet of the Instinct MI300X, December 2023",
  "2026-11-26",
  {
    machine:
      "dense peaks: 163.4 TFLOPS in fp32, 1307.4 in fp16 and bfloat16, 2614.9 in fp8 and int8; 5.3 TB/s; no time to start a kernel was found: none is counted",
  },
);

/** A consumer GPU as DirectML meets it. */
export const RX_7900_XTX: Machine = {
  name: "a Radeon RX 7900 XTX",
  basis: "published",
  flops: { f32: 61.4e12, f16: 123e12 },
  bandwidth: 960e9,
  overhead: NO_OVERHEAD,
};

/** Where the numbers of {@link RX_7900_XTX} are from. */
export const RX_7900_XTX_CLAIMS: readonly Source[] = claims(
  "AMD's announcement of the Radeon RX 7900 series, as reported in November 2022",
  "2026-11-26",
  {
    machine:
      "61.4 TFLOPS in fp32, 123 in fp16; 960 GB/s; no figure for int8 was looked up, which counts like fp16; no time to start an operator was found: none is counted",
  },
);

/** A laptop NPU. Float models run in bfloat16 at best as blocks that share an exponent. */
export const XDNA2: Machine = {
  name: "the XDNA 2 NPU of a Ryzen AI 300",
  basis: "published",
  flops: { f32: 50e12, bf16: 50e12, i8: 50e12 },
  bandwidth: 120e9,
  overhead: NO_OVERHEAD,
};

/** Where the numbers of {@link XDNA2} are from. */
export const XDNA2_CLAIMS: readonly Source[] = claims(
  "AMD's announcement of Ryzen AI 300, as reported in June and July 2024",
  "2026-11-26",
  {
    machine:
      "50 TOPS in int8, and as many in 16-bit floats that share exponents in blocks, which float models count at; 16-bit activations count alike, no figure for them was found; LPDDR5X-7500 memory of 120 GB/s; no time to start a node was found: none is counted",
  },
);
