import type { CallErrors } from "../calibrate/statistics/types.ts";
import type { Json } from "../ir/tensor.ts";

/** SQNR of the guided output that has to remain on the calibration trajectory, in dB. */
export interface FidelityFloor {
  readonly mean: number;
  readonly worst: number;
}

/** The option that takes a floor, or null; `doc` says what a pass does to keep it. */
export function floorOption(doc: string): { readonly [key: string]: Json } {
  return {
    anyOf: [
      {
        type: "object",
        additionalProperties: false,
        required: ["mean", "worst"],
        properties: {
          mean: { type: "number", description: "Mean SQNR over the steps, dB." },
          worst: { type: "number", description: "SQNR of the worst step, dB." },
        },
      },
      { type: "null" },
    ],
    default: null,
    description: doc,
  };
}

/** How many dB are missing, of both goals together; 0 where the floor holds. */
export function shortfall(floor: FidelityFloor, e: Pick<CallErrors, "mean" | "worst">): number {
  // What is not a number keeps no floor.
  const missing = (goal: number, is: number): number =>
    is >= goal ? 0 : Number.isFinite(is) ? goal - is : 1e3;
  return missing(floor.mean, e.mean) + missing(floor.worst, e.worst);
}

/** A floor as decisions name it. */
export function floorText({ mean, worst }: FidelityFloor): string {
  return `mean ${mean} dB, worst ${worst} dB`;
}

/** Models above this are not measured trial by trial: every one loads a session. */
export const TRIAL_BYTES = 256 << 20;

/** Indices of `count` calls spread over all of them, both ends included. */
export function spreadCalls(total: number, count: number): number[] {
  if (total <= count) return Array.from({ length: total }, (_, i) => i);
  return Array.from({ length: count }, (_, i) => Math.round((i * (total - 1)) / (count - 1)));
}
