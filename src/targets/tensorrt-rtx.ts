import { claims, HALF, SESSION, SESSION_CLAIMS } from "./claims.ts";
import { RTX_5090, RTX_5090_CLAIMS } from "./machines/nvidia.ts";
import type { Target } from "./target.ts";
import { tensorrt } from "./tensorrt.ts";
import { IMPORTER_LIMITS } from "./tensorrt-limits.ts";

const DOCS = "NVIDIA TensorRT-RTX documentation and onnxruntime provider page";

/** TensorRT for RTX through onnxruntime's NvTensorRtRtx provider. Nothing here is measured. */
export const tensorrtRtx: Target = {
  id: "tensorrt-rtx",
  title: "TensorRT for RTX through onnxruntime",
  kind: "gpu",
  provider: { name: "NvTensorRtRtx", options: {} },
  opset: { min: 9, max: 24, emit: 21 },
  shapes: { static: false, maxRank: 8 },
  formats: tensorrt.formats,
  compute: ["f32", "f16", "bf16"],
  spelling: tensorrt.spelling,
  integer: { ...tensorrt.integer!, float8: ["matmul"] },
  palettes: tensorrt.palettes,
  sparsity: {
    fast: [],
    note: "no option for sparse weights is documented: zeros cost time and memory like other weights",
  },
  half: HALF,
  align: { channels: 8, bytes: 4096 },
  machine: RTX_5090,
  limits: { ...SESSION, ...IMPORTER_LIMITS, productOnlyTypes: ["f8e4m3fn", "f4e2m1"] },
  sources: [
    ...SESSION_CLAIMS,
    ...RTX_5090_CLAIMS,
    ...claims(DOCS, "2026-11-23", {
      provider:
        "the in-tree provider gives way to a plugin; models above 2 GB need external data in the context",
      opset: "the importer is TensorRT's; its opset ceiling is taken over unverified",
      shapes: "symbolic dimensions are accepted without profiles",
      formats: "constants fold before nodes are given to the provider; types are those of TensorRT",
      compute: "arithmetic is done in fp32, fp16 and bfloat16",
      spelling: "the importer is TensorRT's",
      integer:
        "Q/DQ rules are TensorRT's: symmetric, biases in float; fp8 is taken by matrix products only, from Ada (sm89) on",
      palettes: "constant folding happens before nodes are given to a provider",
      sparsity: "the option of TensorRT is not listed",
      align: "tensor cores want multiples of 8 in half precision",
      limits: "the importer is TensorRT's",
      "limits.productOnlyTypes":
        "fp8 and fp4 are taken by matrix products only, so convolutions stay int8 or fp16",
    }),
  ],
};
