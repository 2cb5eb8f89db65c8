import { quantizedCase } from "../lib/quantized.ts";

/** 8-bit CPU builds beside those of ONNX Runtime's tools: the fast preset, and a recipe that leans to quality. */
export const quantize8bit = quantizedCase({
  name: "quantize-8bit",
  title: "8-bit CPU builds beside ONNX Runtime's own",
  peers: ["ort-static-core-u8s8-rr", "ort-dynamic-int8-u8"],
  builds: [
    {
      label: "balanced",
      preset: "balanced",
      beats: ["ort-static-core-u8s8-rr"],
      limits: {
        "cifar-unet": { bytes: 2.1e6, mean: 35, worst: 24, psnr: 42, speed: 1.4 },
        "cifar-dit": { bytes: 2.5e6, mean: 33, worst: 20, psnr: 38, speed: 1.4 },
      },
    },
    {
      label: "quality",
      recipe: "quality.yaml",
      beats: ["ort-dynamic-int8-u8"],
      limits: {
        "cifar-unet": { bytes: 2.1e6, mean: 38, worst: 27, psnr: 47, speed: 1 },
        "cifar-dit": { bytes: 2.5e6, mean: 36, worst: 22, psnr: 45, speed: 1 },
      },
    },
  ],
});
