import { claims } from "../claims.ts";
import type { Machine } from "../machine.ts";
import type { Source } from "../target.ts";
import { AVX2_CORE } from "./x64.ts";

const HZ = 2.6e9;

/** A server core. What is not a product is taken over from the measured x86-64 core. */
export const GRAVITON3_CORE: Machine = {
  ...AVX2_CORE,
  name: "one core of a Graviton3 (Neoverse V1)",
  basis: "mixed",
  flops: { f32: 32 * HZ, i8: 128 * HZ },
};

/** Where the numbers of {@link GRAVITON3_CORE} are from. */
export const GRAVITON3_CLAIMS: readonly Source[] = claims(
  "Arm's description of Neoverse V1, and chipsandcheese.com on Graviton3, May 2022",
  "2026-11-26",
  {
    machine:
      "four NEON pipes of 128 bits at 2.6 GHz: 32 operations a cycle in fp32, 128 in 8-bit dot products; matrix instructions (SMMLA) may do more and are not counted; overhead, bandwidth, conversions and all else are taken over from a measured x86-64 core; figures as generally reported, not read again in the source",
  },
);
