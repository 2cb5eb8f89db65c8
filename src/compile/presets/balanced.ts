import type { Recipe } from "../recipe/types.ts";
import { othersAt8Bits } from "./others.ts";

/**
 * 8-bit arithmetic where it is faster and its measured damage small, 8-bit weights everywhere else. The floor is what the
 * calibration trajectory has to keep; figures on other seeds come out within a decibel of it.
 */
export const balanced: Recipe = {
  extends: "exact",
  components: othersAt8Bits,
  calibration: { samples: 16 },
  passes: [
    "clean",
    "split-upsample",
    { "quantize-static": { floor: { mean: 35.8, worst: 25 } } },
    { "quantize-weights": { format: "w8" } },
  ],
  output: { names: "short" },
};
