import { claims, measured, ORT_CPU } from "../claims.ts";
import type { Machine } from "../machine.ts";
import type { Source } from "../target.ts";

/**
 * Fitted to profiles of the bundled U-Net; the bundled transformer, which nothing is fitted to, shows how far the table
 * carries (bench case `cpu-cost` reports how well the estimates rank nodes of both). Ratios carry over to other processors
 * better than seconds do. 8-bit products and conversions keep the ratio to fp32 products they were fitted with, on
 * convolutions of 32 to 320 channels on 4×4 to 16×16 and products of 128 to 1280 columns with their conversions around
 * them (AVX2 without VNNI, weights that cannot saturate).
 */
export const AVX2_CORE: Machine = {
  name: "one core of an AVX2 server processor",
  basis: "measured",
  flops: { f32: 56e9, i8: 108.7e9 },
  other: { attention: 30e9, statistics: 20e9, pointwise: 3e9, functions: 0.93e9 },
  bandwidth: 37e9,
  weightBandwidth: 9.3e9,
  overhead: { node: 4.4e-6, view: 4e-6, attention: 16.7e-6, row: 61e-9 },
  convert8: 0.759e-9,
};

/** Cycles a second of the core that the variants with wider vectors stand for: its base frequency. */
const XEON_HZ = 2.0e9;

/** The same core with and without its matrix unit. What is not a product is taken over from the measured one. */
const xeon = (unit: string, int8: number): Machine => ({
  ...AVX2_CORE,
  name: `one core of a Xeon Platinum 8480+ with ${unit}`,
  basis: "mixed",
  flops: { f32: 64 * XEON_HZ, i8: int8 * XEON_HZ },
});

/** A server core with 8-bit dot products of 512 bits. */
export const VNNI_CORE = xeon("AVX-512 VNNI", 256);
/** A server core with a matrix unit. */
export const AMX_CORE = xeon("AMX", 2048);

/** Where the numbers of these cores are from. */
export const X64_CLAIMS: readonly Source[] = [
  ...measured(ORT_CPU, "2026-11-26", {
    machine:
      "rates fitted to profiles of the bundled U-Net and tried on the bundled transformer; bench case cpu-cost reports how well they rank nodes; 8-bit rates keep the ratio to fp32 that they were fitted with",
  }),
  ...claims("Intel's statements on AMX and Deep Learning Boost, as reported since 2021", "2026-11-26", {
    machine:
      "a Sapphire Rapids core does 2048 operations a cycle on 8-bit integers with AMX, and two fused multiply-adds of 512 bits: 256 operations with VNNI and 64 in fp32; 2.0 GHz is the base frequency of a Xeon Platinum 8480+; all else is taken over from the measured core; figures as generally reported, not read again in the source",
  }),
];
