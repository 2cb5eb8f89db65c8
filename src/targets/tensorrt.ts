import { claims, FOLDS, HALF, SESSION, SESSION_CLAIMS } from "./claims.ts";
import { H100, H100_CLAIMS } from "./machines/nvidia.ts";
import type { Target } from "./target.ts";
import { IMPORTER_LIMITS } from "./tensorrt-limits.ts";

const IMPORTER = "onnx-tensorrt importer 10.1 and operator table 10.15";
const DOCS = "NVIDIA TensorRT documentation";

/** TensorRT through onnxruntime's provider. Nothing here is measured. */
export const tensorrt: Target = {
  id: "tensorrt",
  title: "TensorRT through onnxruntime",
  kind: "gpu",
  provider: { name: "tensorrt", options: { trt_engine_cache_enable: true } },
  opset: { min: 9, max: 24, emit: 21 },
  shapes: { static: false, maxRank: 8 },
  formats: {
    f32: { gemm: "float", conv: "float" },
    f16: { gemm: "float", conv: "float", use: "compute" },
    bf16: {
      gemm: null,
      conv: null,
      fallback: "f16",
      why: "bfloat16 convolutions are defined from opset 22 on, which not every version imports, and no kernel here could prove a build",
    },
    w8: { gemm: "fold-channel", conv: "fold-channel", note: FOLDS },
    w4: {
      gemm: "dequantize-block",
      conv: "fold-block",
      symmetricOnly: true,
      note: "packed products read the 4 bits of linear layers; convolutions are widened when the model loads, a size format",
    },
    f4: {
      gemm: "dequantize-nvfp4",
      conv: "float",
      note: "linear layers hold 4-bit floats with a scale for 16 of them and multiply in float, convolutions stay as they are; nothing but the device can load it",
    },
    w2: { gemm: null, conv: null, fallback: "w4", why: "there are no 2-bit types below opset 25" },
  },
  compute: ["f32", "f16", "bf16"],
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
    activations: "s8",
    scales: "constant",
    weightScales: "all",
    placement: "inputs",
    float8: ["conv", "matmul"],
    dynamic: false,
    saturates: false,
  },
  palettes:
    "a size format: codebooks are looked up when the model loads, so weights take float memory and run at float speed",
  sparsity: {
    fast: ["2:4"],
    note: "two zeros in every four along the input channels are skipped on Ampere and later with trt_sparsity_enable",
  },
  half: HALF,
  align: { channels: 8, bytes: 4096 },
  machine: H100,
  limits: { ...SESSION, ...IMPORTER_LIMITS },
  variants: {
    default: "10.x",
    of: {
      "10.x": { title: "TensorRT 10", overrides: {} },
      "11.x": {
        title: "TensorRT 11",
        overrides: {
          opset: { min: 9, max: 25, emit: 23 },
          spelling: { attention: "Attention", rmsNorm: "RMSNormalization" },
        },
      },
    },
  },
  sources: [
    ...SESSION_CLAIMS,
    ...H100_CLAIMS,
    ...claims(DOCS, "2026-11-23", {
      provider: "engines take minutes to build; the cache keeps them",
      "formats.f16":
        "networks are strongly typed: precision is what the ONNX file says, and every Cast is literal",
      "formats.bf16": "ONNX Conv takes bfloat16 from opset 22 on",
      "formats.f4":
        "fp4 is E2M1 in blocks of 16 with fp8 scales and one fp32 scale (NVFP4), from Blackwell (sm100) on; products on fp4 activations need a conversion at run time that is not written here",
      "formats.w2": "types are int8, fp8, int4 and fp4",
      compute: "fp32, fp16 and bfloat16, with integer and fp8 products between Q/DQ pairs",
      "spelling.layerNorm":
        "LayerNormalization and GroupNormalization are computed in fp32 inside; primitives in fp16 overflow",
      "spelling.pointwise": "1x1 convolutions are products inside",
      integer:
        "int8 Q/DQ is symmetric, per tensor for activations, per channel for weights; so is fp8 (E4M3FN), from Ada (sm89) on, and one model does not mix them",
      sparsity: "kSPARSE_WEIGHTS exploits 2:4 patterns along input channels on Ampere and later",
      align: "tensor cores want multiples of 8 in half precision",
      "variants.10.x": "TensorRT 10.15 imports opsets 9 to 24",
      "variants.11.x":
        "TensorRT 11 imports opsets 9 to 25, Attention and RMSNormalization of opset 23 among them, and has removed weak typing: no precision flags and no calibrators",
    }),
    ...claims(IMPORTER, "2026-11-23", {
      opset: "the importer takes opsets 9 to 24",
      shapes: "symbolic dimensions take optimisation profiles",
      "spelling.groupNorm": "GroupNormalization and InstanceNormalization are imported",
      "spelling.gelu": "Gelu of opset 20 is imported, with its approximation",
      "spelling.silu": "Sigmoid and Mul are fused; operators of com.microsoft are not imported",
      "spelling.rmsNorm": "RMSNormalization is imported where the importer knows opset 23",
      "spelling.geglu":
        "Split, Gelu and Mul are imported and fused; operators of com.microsoft are not imported",
      "spelling.affine": "scale layers are fused",
      "limits.operators":
        "QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger and DynamicQuantizeLinear are not imported, nor anything of com.microsoft",
      "limits.pairs":
        "Q/DQ of int8, fp8, int4 and fp4 becomes low-precision arithmetic of the layer behind it",
      "limits.symmetric":
        "zero points must be all zero, uint8 is rejected, and DequantizeLinear takes no int32, so biases stay float",
      "limits.blockScales":
        "block scales have the rank of the weight and one blocked axis, the last or the one before; int4 weights have an even last dimension; fp4 blocks hold 16",
      "limits.inputPairs":
        "conversions belong on the inputs of Conv and products and on the residual branch of Add",
    }),
    ...claims("onnxruntime graph optimizer sources", "2026-11-26", {
      "formats.w8": "Cast and Mul of constants fold before nodes are given to a provider",
      "formats.w4": "int4 Cast, Mul and Reshape of constants fold before nodes are given to a provider",
      palettes: "constant folding happens before nodes are given to a provider",
    }),
    ...claims(
      "onnx-tensorrt: AttentionHelpers.cpp, operator table and release notes of 10.14",
      "2026-11-26",
      {
        "spelling.attention":
          "standard Attention is imported from TensorRT 10.14 on (release notes of the parser, 2025-11); builds that earlier versions must take spell it out",
        "limits.importer":
          "Attention is imported with four-dimensional query, key, value and mask, one scale and no softmax_precision, without past, present, softcap and qk output, and is scaled by the root of its scale on either side; Resize is nearest or linear, without antialias; axes are constants",
      },
    ),
  ],
};
