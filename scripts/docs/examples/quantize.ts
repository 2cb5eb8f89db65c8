import type { Examples } from "./example.ts";
import { block, CHANNELS, denoiser, lead, onTokens } from "./models.ts";

const layers = () =>
  denoiser((k, h) =>
    onTokens(k, k.conv("conv", lead(k, h), CHANNELS, CHANNELS, 3), CHANNELS, (t) =>
      k.linear("linear", t, CHANNELS, CHANNELS),
    ),
  );
const small = { minElements: 1 };

export const quantize: Examples = {
  "quantize-weights": {
    of: "a convolution and a linear layer at 4 bits",
    build: layers,
    options: { ...small, format: "w4", block: 16 },
    target: "cpu-x64",
  },
  "quantize-static": {
    of: "a convolution on integers, with one scale for all timesteps",
    build: () => denoiser((k, h) => k.conv("conv", lead(k, h), CHANNELS, CHANNELS, 3)),
    options: { time: "constant" },
    tidy: [["fold-constants"]],
    target: "cpu-x64",
    sampled: true,
  },
  "quantize-dynamic": {
    of: "a linear layer on integers, its input scaled as it runs",
    build: () =>
      denoiser((k, h) => onTokens(k, h, CHANNELS, (t) => k.linear("linear", t, CHANNELS, CHANNELS))),
    options: { ...small, minRows: 1, guards: false },
    target: "cpu-x64",
  },
  "allocate-bits": {
    of: "a convolution under a budget of 6 bits a weight",
    build: () => denoiser((k, h) => k.conv("conv", lead(k, h), CHANNELS, CHANNELS, 3)),
    target: "cpu-x64",
    sampled: true,
  },
  "correct-output": {
    of: "a denoiser that has lost a residual block",
    build: () => denoiser((k, h) => k.conv("conv", block(k, h), CHANNELS, CHANNELS, 3)),
    after: [["prune-blocks", { ratio: 0.9, stub: "none", calls: 2 }]],
    sampled: true,
  },
};
