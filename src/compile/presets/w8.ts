import type { Recipe } from "../recipe/types.ts";

/** 8-bit weights, one scale per output channel; activations stay float. */
export const w8: Recipe = { extends: "exact", passes: ["clean", { "quantize-weights": { format: "w8" } }] };
