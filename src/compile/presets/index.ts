import type { Recipe } from "../recipe/types.ts";
import { balanced } from "./balanced.ts";
import { exact } from "./exact.ts";
import { fp16 } from "./fp16.ts";
import { small } from "./small.ts";
import { tiny } from "./tiny.ts";
import { w4 } from "./w4.ts";
import { w8 } from "./w8.ts";

/** A bundled recipe with one line on what it is for. */
export interface Preset {
  readonly name: string;
  readonly summary: string;
  readonly recipe: Recipe;
}

/** Bundled recipes, mildest first. */
export const presets: readonly Preset[] = [
  { name: "exact", summary: "graph clean-up only; outputs equal up to float rounding", recipe: exact },
  { name: "fp16", summary: "half-precision weights and arithmetic, fp32 where ranges need it", recipe: fp16 },
  { name: "w8", summary: "8-bit weights per channel, float arithmetic; a size format on CPU", recipe: w8 },
  {
    name: "balanced",
    summary: "8-bit arithmetic where it is faster and safe, 8-bit weights elsewhere",
    recipe: balanced,
  },
  { name: "w4", summary: "4-bit weights in blocks for linear layers, float arithmetic", recipe: w4 },
  { name: "small", summary: "4-bit weights fitted on sampled trajectories, float arithmetic", recipe: small },
  {
    name: "tiny",
    summary: "a tenth of the operations pruned, attention factored, 4-bit weights in large blocks",
    recipe: tiny,
  },
];

/** The preset called `name`. */
export function findPreset(name: string): Preset | undefined {
  return presets.find((p) => p.name === name);
}
