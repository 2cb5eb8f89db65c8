import type { Recipe } from "../recipe/types.ts";
import { othersAt8Bits } from "./others.ts";

/** 4-bit weights in blocks for linear layers, what the target takes for convolutions; activations stay float. */
export const w4: Recipe = {
  extends: "exact",
  components: othersAt8Bits,
  passes: ["clean", { "quantize-weights": { format: "w4" } }],
};
