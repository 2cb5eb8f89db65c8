import type { Recipe } from "../recipe/types.ts";
import { others } from "./others.ts";

/** Half-precision weights and arithmetic with fp32 islands where the ranges of the whole trajectory need them. */
export const fp16: Recipe = {
  extends: "exact",
  components: others({}),
  passes: ["clean", { "convert-float": { to: "f16" } }],
};
