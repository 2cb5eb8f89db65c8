import type { Recipe } from "../recipe/types.ts";

/** 4-bit weights in blocks for linear layers, what the target takes for convolutions; activations stay float. */
export const w4: Recipe = { extends: "exact", passes: ["clean", { "quantize-weights": { format: "w4" } }] };
