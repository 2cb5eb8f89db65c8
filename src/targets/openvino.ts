import {
  claims,
  FOLDS,
  HALF,
  MOVING_UNITS,
  NODE_UNITS,
  ORT_SOURCE,
  SESSION,
  SESSION_CLAIMS,
} from "./claims.ts";
import { LUNAR_LAKE_CLAIMS, LUNAR_LAKE_CPU, LUNAR_LAKE_GPU, LUNAR_LAKE_NPU } from "./machines/intel.ts";
import type { Overrides, Target } from "./target.ts";

const DOCS = "OpenVINO NPU device page and onnxruntime OpenVINO provider page";

/** OpenVINO's CPU and GPU devices: symbolic shapes, and packed 4-bit products. */
const processor = (device: string): Overrides => ({
  provider: { name: "openvino", options: { device_type: device } },
  shapes: { static: false, maxRank: 8 },
  compute: device === "CPU" ? ["f32"] : ["f32", "f16"],
  formats: {
    w8: {
      gemm: "matmul-nbits",
      conv: "fold-channel",
      accuracyLevel: 0,
      note: "linear layers stay packed in memory; convolutions are widened when the model loads",
    },
    w4: {
      gemm: "matmul-nbits",
      conv: "fold-block",
      accuracyLevel: 0,
      note: "linear layers stay packed in memory; convolutions are widened when the model loads",
    },
    ...(device === "CPU" && {
      f16: {
        gemm: "float",
        conv: "float",
        use: "storage",
        note: "a size format: weights are stored in half precision and widened when the model loads",
      },
    }),
  },
  machine: device === "CPU" ? LUNAR_LAKE_CPU : LUNAR_LAKE_GPU,
  limits: {
    operators: {
      standard: { except: ["Attention", "RotaryEmbedding", "TensorScatter", "Col2Im"] },
      contrib: [
        "DynamicQuantizeMatMul",
        "FusedMatMul",
        "MatMulNBits",
        "QuickGelu",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
        "QuantizeLinear",
        "DequantizeLinear",
      ],
    },
  },
});

/** Intel's NPU, and with variants its CPUs and GPUs, through onnxruntime's OpenVINO provider. Nothing here is measured. */
export const openvino: Target = {
  id: "openvino",
  title: "Intel OpenVINO through onnxruntime",
  kind: "npu",
  provider: { name: "openvino", options: { device_type: "NPU", enable_qdq_optimizer: "True" } },
  opset: { min: 7, max: 21, emit: 21 },
  shapes: { static: true, maxRank: 6 },
  formats: {
    f32: { gemm: "float", conv: "float", note: "the NPU computes float models in half precision" },
    f16: { gemm: "float", conv: "float", use: "compute" },
    bf16: { gemm: null, conv: null, fallback: "f16", why: "the NPU takes fp32 and fp16" },
    w8: { gemm: "fold-channel", conv: "fold-channel", note: FOLDS },
    w4: { gemm: "fold-block", conv: "fold-block", note: FOLDS },
    w2: { gemm: null, conv: null, fallback: "w4", why: "there are no 2-bit types below opset 25" },
  },
  compute: ["f16"],
  spelling: {
    groupNorm: "GroupNormalization",
    layerNorm: "LayerNormalization",
    gelu: "Gelu",
    geglu: "decomposed",
    silu: "decomposed",
    attention: "decomposed",
    rmsNorm: "decomposed",
    affine: "decomposed",
    pointwise: "Conv",
  },
  integer: {
    spelling: "qdq",
    moves: MOVING_UNITS,
    activations: "u8",
    scales: "constant",
    weightScales: "all",
    dynamic: false,
    saturates: false,
  },
  palettes:
    "a size format: codebooks are looked up before the graph is compiled, so weights take float memory and run at float speed",
  sparsity: {
    fast: [],
    note: "the compiler keeps weights dense: zeros cost time and memory like other weights",
  },
  half: HALF,
  align: { channels: 16, bytes: 4096 },
  machine: LUNAR_LAKE_NPU,
  limits: {
    ...SESSION,
    operators: {
      standard: { except: ["Attention", "RotaryEmbedding", "TensorScatter", "Col2Im", "Loop", "If", "Scan"] },
      contrib: ["QuantizeLinear", "DequantizeLinear"],
    },
    integerBias: { tolerance: 1e-5 },
    pairs: { operators: NODE_UNITS, types: ["u8", "i8"] },
    lengths: {
      resize: {
        antialias: false,
        excludeOutside: false,
        coordinates: ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"],
      },
    },
  },
  variants: {
    default: "npu",
    of: {
      npu: { title: "NPU", overrides: {} },
      cpu: { title: "CPU", overrides: processor("CPU") },
      gpu: { title: "GPU", overrides: processor("GPU") },
    },
  },
  sources: [
    ...SESSION_CLAIMS,
    ...LUNAR_LAKE_CLAIMS,
    ...claims(DOCS, "2026-11-23", {
      provider:
        "device_type selects the device; enable_qdq_optimizer strips conversions the NPU does not want",
      opset: "builds use opset 21; a ceiling is not documented",
      shapes: "the NPU takes static shapes only",
      "formats.f32": "the NPU computes in fp16",
      "formats.f16": "fp16 models are taken as they are",
      "formats.bf16": "input types of the NPU are fp32 and fp16",
      "formats.w2": "weight types are int8 and int4",
      compute: "fp16 inside; integers between Q/DQ pairs that are kept",
      spelling: "standard operators are taken; contributed ones on CPU and GPU only",
      integer: "quantized models are int8 or mixed fp16 and int8; activations of 16 bits become fp16",
      sparsity: "no property for sparse weights on the NPU",
      align: "channels in multiples of 16 fill the array",
      "variants.npu": "the NPU takes static shapes and computes in fp16",
      "variants.cpu": "the CPU device takes symbolic shapes and MatMulNBits",
      "variants.gpu": "the GPU device takes symbolic shapes and MatMulNBits",
    }),
    ...claims(ORT_SOURCE, "2026-11-26", {
      integer:
        "operators that only move data lose their conversions where scale and zero point are one on both sides; other pairs are kept",
    }),
    ...claims(ORT_SOURCE, "2026-11-23", {
      "formats.w8": "constants fold before nodes are given to the provider",
      "formats.w4": "int4 Cast, Mul and Reshape of constants fold before nodes are given to the provider",
      palettes: "constant folding happens before nodes are given to a provider",
      "limits.operators": "the provider's operator list by device",
      "limits.integerBias": "the compiler expects the bias on the grid of the product",
      "limits.pairs": "conversions are kept around the operators the NPU wants quantized",
      "limits.lengths":
        "zero-size dims are rejected; Resize takes neither tf_crop_and_resize nor half_pixel_symmetric, antialias or exclude_outside",
    }),
  ],
};
