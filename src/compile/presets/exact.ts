import type { Recipe } from "../recipe/types.ts";

/** Graph clean-up only: outputs equal up to float rounding, weights keep their type. */
export const exact: Recipe = { passes: ["clean"] };
