import { quantizedCase } from "../lib/quantized.ts";

/** 4-bit mixed builds; ONNX Runtime's tool leaves convolutions in fp32. */
export const quantize4bit = quantizedCase({
  name: "quantize-4bit",
  title: "4-bit mixed builds beside ONNX Runtime's own",
  peers: ["ort-matmul4-rtn"],
  builds: [
    {
      label: "small",
      preset: "small",
      limits: {
        "cifar-unet": { bytes: 1.35e6, mean: 27 },
        "cifar-dit": { bytes: 1.6e6, mean: 31 },
      },
    },
    {
      label: "small, time path in tables",
      recipe: "small-frozen.yaml",
      limits: { "cifar-dit": { bytes: 1.4e6, mean: 31 } },
    },
  ],
});
