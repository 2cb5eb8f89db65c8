import type { Recipe } from "../recipe/types.ts";

/** Half-precision weights and arithmetic with fp32 islands where the trajectory's ranges need them. */
export const fp16: Recipe = { extends: "exact", passes: ["clean", { "convert-float": { to: "f16" } }] };
