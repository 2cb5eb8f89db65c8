import { claims, HALF, MOVING_UNITS, NODE_UNITS, ORT_SOURCE, SESSION, SESSION_CLAIMS } from "./claims.ts";
import { RX_7900_XTX, RX_7900_XTX_CLAIMS } from "./machines/amd.ts";
import type { Target } from "./target.ts";

const DOCS = "onnxruntime DirectML and Windows ML documentation";

/** onnxruntime's DirectML provider, in sustained engineering. Nothing here is measured. */
export const directml: Target = {
  id: "directml",
  title: "onnxruntime DirectML",
  kind: "gpu",
  provider: { name: "dml", options: {} },
  opset: { min: 7, max: 20, emit: 20 },
  shapes: { static: false, maxRank: 8 },
  formats: {
    f32: { gemm: "float", conv: "float" },
    f16: { gemm: "float", conv: "float", use: "compute" },
    bf16: { gemm: null, conv: null, fallback: "f16", why: "DirectML has no bfloat16 tensors" },
    w8: {
      gemm: "matmul-nbits",
      conv: "fold-channel",
      accuracyLevel: 0,
      note: "linear layers stay packed in GPU memory; convolutions are widened when the model loads",
    },
    w4: {
      gemm: null,
      conv: null,
      fallback: "w8",
      why: "4-bit constants need opset 21 and the provider takes 20; packed 4-bit products beside float convolutions are not written yet",
    },
    w2: { gemm: null, conv: null, fallback: "w8", why: "MatMulNBits has kernels for 4 and 8 bits" },
  },
  compute: ["f32", "f16"],
  spelling: {
    groupNorm: "com.microsoft.GroupNorm",
    layerNorm: "LayerNormalization",
    gelu: "Gelu",
    geglu: "com.microsoft.BiasSplitGelu",
    silu: "QuickGelu",
    attention: "com.microsoft.MultiHeadAttention",
    rmsNorm: "decomposed",
    affine: "decomposed",
    pointwise: "Conv",
  },
  packedAttention: { types: ["f32", "f16"] },
  integer: {
    spelling: "qdq",
    moves: MOVING_UNITS,
    activations: "u8",
    scales: "constant",
    weightScales: "all",
    dynamic: true,
    saturates: false,
  },
  palettes:
    "a size format: codebooks are looked up when the model loads, so weights take float memory and run at float speed",
  sparsity: { fast: [], note: "kernels are dense: zeros cost time and memory like other weights" },
  half: HALF,
  align: { channels: 8, bytes: 4096 },
  machine: RX_7900_XTX,
  limits: {
    ...SESSION,
    operators: {
      standard: {
        except: ["RMSNormalization", "Attention", "RotaryEmbedding", "Swish", "Col2Im", "TensorScatter"],
      },
      contrib: [
        "Attention",
        "BiasAdd",
        "BiasGelu",
        "BiasSplitGelu",
        "DynamicQuantizeMatMul",
        "FastGelu",
        "FusedMatMul",
        "Gelu",
        "GroupNorm",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "MultiHeadAttention",
        "NhwcConv",
        "QLinearAdd",
        "QLinearAveragePool",
        "QLinearConcat",
        "QLinearSigmoid",
        "QuantizeLinear",
        "DequantizeLinear",
        "QuickGelu",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
      ],
    },
    integerBias: { tolerance: 1e-5 },
    fusedShapes: { channelsLast: false, evenChannels: false },
    pairs: { operators: NODE_UNITS, types: ["u8", "i8"] },
    hostArguments: {
      resize: { constantScales: true },
      packed: { bits: [4, 8], kMultiple: "block", bias: false, groupIndex: false },
    },
  },
  sources: [
    ...SESSION_CLAIMS,
    ...RX_7900_XTX_CLAIMS,
    ...claims(DOCS, "2026-11-23", {
      provider: "sequential execution without memory pattern; Windows ML ships it beside newer providers",
      opset: "opsets up to 20, with QuantizeLinear and DequantizeLinear of 21",
      shapes: "symbolic dimensions are accepted; static ones are preferred",
      "formats.bf16": "tensor types are fp32, fp16 and integers",
      compute: "arithmetic is done in fp32 and fp16",
      sparsity: "no option reads zeros in weights",
      align: "vendors recommend channels in multiples of 8",
    }),
    ...claims(ORT_SOURCE, "2026-11-26", {
      integer:
        "operators that only move data lose their conversions where scale and zero point are one on both sides; other pairs are kept",
    }),
    ...claims(ORT_SOURCE, "2026-11-23", {
      "formats.f16": "kernels of every operator in use take fp16",
      "formats.w8": "MatMulNBits takes 4 and 8 bits where K is a multiple of the block",
      "formats.w4": "int4 types of ONNX begin with opset 21",
      "formats.w2": "the attribute bits is 4 or 8",
      spelling: "LayerNormalization, Gelu, QuickGelu and MultiHeadAttention have kernels",
      "spelling.groupNorm":
        "GroupNormalization is registered under another name and written out; contributed GroupNorm has a kernel for either layout, with SiLU, and casts gamma and beta to the type of the data",
      integer:
        "Q/DQ is fused for Conv, MatMul, Add, Concat and unary operators; DynamicQuantizeMatMul has a kernel",
      palettes: "constant folding happens before nodes are given to a provider",
      "limits.operators":
        "kernels registered by the provider; SkipGroupNorm is not among them; NhwcConv is, but whether its weights lie as the schema says or as the CUDA kernel reads them is not known, so it is never written",
      "limits.fusedShapes":
        "GroupNorm takes 4-D input of either layout with gamma and beta of one type; BiasSplitGelu is not restricted in width",
      "limits.integerBias": "the fusions expect the bias on the grid of the product",
      "limits.pairs": "QDQ selectors are registered for the provider",
      "limits.hostArguments":
        "Resize scales and sizes must be constants; MatMulNBits wants K a multiple of the block and takes neither bias nor g_idx",
    }),
    ...claims(
      "onnxruntime source: DmlOperatorBiasSplitGelu.cpp and DmlOperatorMultiHeadAttention.cpp",
      "2026-11-26",
      {
        "spelling.geglu":
          "BiasSplitGelu is one graph of Add, Split, erf GELU and Mul for tensors of even width",
        packedAttention:
          "the attention operator of DirectML reads stacked queries, keys and values, and stacked keys and values, of fp32 and fp16",
      },
    ),
  ],
};
