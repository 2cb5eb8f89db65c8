import type { Recipe } from "../recipe/types.ts";
import { othersAt8Bits } from "./others.ts";

/**
 * Fewer numbers, then fewer bits of each: a tenth of the operations goes as whole heads, neurons and channels, what is
 * left of attention is factored where that costs next to nothing, and the rest is fitted to 4 bits in large blocks. Every
 * step sees the network the one before left behind, and is repaired against the original's activations.
 */
export const tiny: Recipe = {
  extends: "exact",
  components: othersAt8Bits,
  calibration: { samples: 8 },
  passes: [
    "clean",
    { "prune-structures": { ratio: 0.1 } },
    { "factorize-attention": { budget: { energy: 0.999 } } },
    { "quantize-weights": { format: "w4", method: "rounding", symmetric: true, block: 128 } },
  ],
  output: { names: "short" },
};
