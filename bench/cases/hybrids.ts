import { quantizedCase } from "../lib/quantized.ts";

/** Recipes of several families, each step on what the one before left. */
export const hybrids = quantizedCase({
  name: "hybrids",
  title: "pruned, factored, sparse and quantized together",
  peers: ["ort-matmul4-rtn"],
  builds: [
    {
      label: "tiny",
      preset: "tiny",
      limits: {
        "cifar-unet": { bytes: 1.0e6, mean: 27, speed: 1.2 },
        "cifar-dit": { bytes: 1.25e6, mean: 30, speed: 1.2 },
      },
    },
    { label: "pruned, 8 bits", recipe: "pruned-8bit.yaml", limits: {} },
    { label: "pruned, codebooks of 16", recipe: "pruned-palette.yaml", limits: {} },
    { label: "half zeros, 4 bits", recipe: "sparse-4bit.yaml", limits: {} },
    {
      label: "33 dB split over passes",
      recipe: "split-33.yaml",
      // Seeds that judge are not those that were budgeted on.
      limits: { "cifar-unet": { mean: 32 }, "cifar-dit": { mean: 32 } },
    },
  ],
});
