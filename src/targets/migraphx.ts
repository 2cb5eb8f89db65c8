import { claims, FOLDS, HALF, NODE_UNITS, ORT_SOURCE, SESSION, SESSION_CLAIMS } from "./claims.ts";
import { MI300X, MI300X_CLAIMS } from "./machines/amd.ts";
import type { Target } from "./target.ts";

const IMPORTER = "MIGraphX importer of ONNX, parse_groupnorm.cpp of 2025";
const DOCS = "ROCm MIGraphX documentation 7.2";

/** AMD GPUs through onnxruntime's MIGraphX provider. Nothing here is measured. */
export const migraphx: Target = {
  id: "migraphx",
  title: "AMD MIGraphX through onnxruntime",
  kind: "gpu",
  provider: { name: "migraphx", options: {} },
  opset: { min: 7, max: 19, emit: 19 },
  shapes: { static: true, maxRank: 8 },
  formats: {
    f32: { gemm: "float", conv: "float" },
    f16: { gemm: "float", conv: "float", use: "compute" },
    bf16: {
      gemm: null,
      conv: null,
      fallback: "f16",
      why: "bfloat16 convolutions are defined from opset 22 on and the provider takes 19",
    },
    w8: { gemm: "fold-channel", conv: "fold-channel", note: FOLDS },
    w4: {
      gemm: null,
      conv: null,
      fallback: "w8",
      why: "4-bit constants need opset 21 and the provider takes 19; packed 4-bit products beside float convolutions are not written yet",
    },
    w2: { gemm: null, conv: null, fallback: "w8", why: "2-bit products are not among the documented ones" },
  },
  compute: ["f32", "f16"],
  spelling: {
    groupNorm: "InstanceNormalization",
    layerNorm: "LayerNormalization",
    gelu: "com.microsoft.Gelu",
    geglu: "decomposed",
    silu: "QuickGelu",
    attention: "com.microsoft.MultiHeadAttention",
    rmsNorm: "decomposed",
    affine: "decomposed",
    pointwise: "Conv",
  },
  integer: null,
  integerWhy:
    "the provider takes Q/DQ in 8 bits, but which grids its compiler keeps as integers is undocumented and no such device was at hand",
  palettes:
    "a size format: codebooks are looked up when the model loads, so weights take float memory and run at float speed",
  sparsity: {
    fast: [],
    note: "no option reads zeros in weights: they cost time and memory like other weights",
  },
  half: HALF,
  align: { channels: 8, bytes: 4096 },
  machine: MI300X,
  limits: {
    ...SESSION,
    operators: {
      standard: {
        except: ["RMSNormalization", "RotaryEmbedding", "Swish", "Col2Im", "DeformConv", "TensorScatter"],
      },
      contrib: [
        "Attention",
        "BiasGelu",
        "FastGelu",
        "Gelu",
        "GroupNorm",
        "GroupQueryAttention",
        "MatMulNBits",
        "MultiHeadAttention",
        "NhwcConv",
        "QLinearAdd",
        "QLinearAveragePool",
        "QLinearGlobalAveragePool",
        "QuickGelu",
        "RotaryEmbedding",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
      ],
    },
    fusedShapes: { channelsLast: false, evenChannels: false, parametersPerGroup: true },
    integerBias: { tolerance: 1e-5 },
    pairs: { operators: NODE_UNITS, types: ["u8", "i8"] },
    constantArguments: {
      constants: { Reshape: [1], Slice: [1, 2], Expand: [1], Range: [0, 1, 2], ReduceSum: [1], Pad: [1] },
      resize: {
        modes: ["nearest", "linear"],
        coordinates: ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"],
      },
      padModes: ["constant", "reflect"],
      noIntegerPool: true,
    },
  },
  sources: [
    ...SESSION_CLAIMS,
    ...MI300X_CLAIMS,
    ...claims(DOCS, "2026-11-23", {
      opset: "the parser takes opsets up to 19",
      "formats.bf16": "ONNX Conv takes bfloat16 from opset 22 on",
      "formats.w2": "packed products are documented for 4 bits",
      compute: "arithmetic is done in fp32 and fp16",
      integer: "int8 needs a calibration table or Q/DQ in the graph",
      align: "matrix cores want multiples of 8 in half precision",
    }),
    ...claims(IMPORTER, "2026-11-26", {
      "spelling.groupNorm":
        "com.microsoft GroupNorm and GroupNormalization are imported with one scale and offset per group, and builds have one per channel: a GroupNorm of the usual form is refused when the program is compiled, so the exporter's form is kept, whose operators are all imported",
      "limits.fusedShapes":
        "the importer of com.microsoft GroupNorm takes either layout, any rank above 2, and wants as many gammas and betas as groups",
    }),
    ...claims(ORT_SOURCE, "2026-11-23", {
      provider: "the ROCm provider is gone from the tree; MIGraphX is the way to AMD GPUs",
      shapes: "a program is compiled per input shape",
      "formats.f16": "fp16 graphs are taken as they are",
      "formats.w8": "constants fold before nodes are given to the provider",
      "formats.w4": "int4 types of ONNX begin with opset 21; int4 maps to the int8 type at the border",
      spelling: "the listed spellings are in the provider's operator list; BiasSplitGelu is not",
      palettes: "constant folding happens before nodes are given to a provider",
      sparsity: "no provider option reads zeros in weights",
      "limits.operators": "SkipGroupNorm, BiasSplitGelu, BiasAdd and RMSNormalization are not in the list",
      "limits.integerBias": "int8 convolutions expect the bias on the grid of the product",
      "limits.pairs": "QuantizeLinear, DequantizeLinear and the QLinear operators are in the list",
      "limits.constantArguments":
        "shapes of Reshape, Slice, Expand, Range and ReduceSum, and pads, must be constants; Resize is not cubic and not tf_crop_and_resize; MaxPool takes no 8-bit type",
    }),
  ],
};
