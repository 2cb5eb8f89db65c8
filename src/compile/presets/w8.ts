import type { Recipe } from "../recipe/types.ts";
import { others } from "./others.ts";

/** 8-bit weights, one scale per output channel; activations stay float. */
export const w8: Recipe = {
  extends: "exact",
  components: others({}),
  passes: ["clean", { "quantize-weights": { format: "w8" } }],
};
