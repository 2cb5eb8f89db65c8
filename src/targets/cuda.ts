import { claims, HALF, ORT_SOURCE, SESSION, SESSION_CLAIMS } from "./claims.ts";
import { H100, H100_CLAIMS } from "./machines/nvidia.ts";
import type { Target } from "./target.ts";

/** onnxruntime's CUDA provider. Nothing here is measured: its claims are read from source. */
export const cuda: Target = {
  id: "cuda",
  title: "onnxruntime CUDA",
  kind: "gpu",
  provider: { name: "cuda", options: { prefer_nhwc: "1" } },
  opset: { min: 7, max: 26, emit: 21 },
  shapes: { static: false, maxRank: 8 },
  formats: {
    f32: { gemm: "float", conv: "float" },
    f16: { gemm: "float", conv: "float", use: "compute" },
    bf16: {
      gemm: null,
      conv: null,
      fallback: "f16",
      why: "bfloat16 convolutions are defined from opset 22 on, and builds are written in opset 21",
    },
    w8: {
      gemm: "matmul-nbits",
      conv: "fold-channel",
      accuracyLevel: 0,
      note: "linear layers stay packed in GPU memory; convolutions are widened when the model loads",
    },
    w4: {
      gemm: "matmul-nbits",
      conv: "fold-block",
      accuracyLevel: 0,
      note: "linear layers stay packed in GPU memory; convolutions are widened when the model loads",
    },
    w2: { gemm: null, conv: null, fallback: "w4", why: "MatMulNBits has kernels for 4 and 8 bits" },
  },
  compute: ["f32", "f16", "bf16"],
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
  packedAttention: { types: ["f16"] },
  integer: null,
  integerWhy:
    "QuantizeLinear and DequantizeLinear around Conv and MatMul stay kernels of their own there, so 8-bit graphs are slower than fp16",
  palettes:
    "a size format: codebooks are looked up when the model loads, so weights take float memory and run at float speed",
  sparsity: {
    fast: [],
    note: "the provider calls dense products: zeros cost time and memory like other weights",
  },
  half: HALF,
  align: { channels: 8, bytes: 4096 },
  machine: H100,
  limits: {
    ...SESSION,
    operators: {
      standard: { except: ["ConvInteger", "QLinearConv", "QLinearMatMul", "DynamicQuantizeLinear"] },
      contrib: [
        "Attention",
        "BiasAdd",
        "BiasGelu",
        "BiasSplitGelu",
        "FastGelu",
        "FusedConv",
        "FusedMatMul",
        "GatherBlockQuantized",
        "Gelu",
        "GemmFloat8",
        "GroupNorm",
        "MatMulNBits",
        "MultiHeadAttention",
        "NhwcConv",
        "PackedMultiHeadAttention",
        "QuickGelu",
        "RotaryEmbedding",
        "SkipGroupNorm",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
        "MatMulBlockQuantizedFp8Weight",
        "MatMulBlockQuantizedFp4Weight",
      ],
    },
    inlined: ["GroupNormalization"],
    pairsCost: ["Conv", "ConvTranspose", "MatMul", "Gemm"],
    fusedShapes: {
      channelsLast: true,
      parameters: "f32",
      evenChannels: true,
      groupMax: 512,
      splitGeluWidths: [2560, 5120, 6144, 10240, 12288],
    },
    attention: { headMultiple: 8, headMax: 256, mask: false, boolMask: false, softcap: false },
    packedProducts: {
      bits: [4, 8],
      blocks: [64, 128],
      kMultiple: "block",
      nMultiple: { 4: 64, 8: 32 },
      bias: false,
      groupIndex: false,
    },
  },
  sources: [
    ...SESSION_CLAIMS,
    ...H100_CLAIMS,
    ...claims(ORT_SOURCE, "2026-11-23", {
      provider:
        "prefer_nhwc gives channels-last convolutions without contributed operators and moves Transposes out between them and GroupNorm, so com.microsoft NhwcConv is taken where a model has it but never written: the same kernel runs, and the graph stays portable",
      opset: "the runtime loads up to opset 26; operators newer than the kernels run on the CPU",
      shapes: "symbolic dimensions are accepted",
      "formats.f16": "fp16 kernels exist for every operator of a diffusion graph",
      "formats.bf16": "ONNX Conv takes bfloat16 from opset 22 on",
      "formats.w8":
        "MatMulNBits takes 8 bits; at large row counts it dequantizes and multiplies: a memory format",
      "formats.w4": "MatMulNBits takes 4 bits; DequantizeLinear of int4 before MatMul becomes it",
      "formats.w2": "the attribute bits is 4 or 8",
      compute: "fp32, fp16 and bfloat16 kernels; statistics of norms and softmax are fp32 inside",
      "spelling.groupNorm":
        "GroupNormalization has no kernel and is written out; com.microsoft GroupNorm has one for channels-last tensors, with SiLU; it warns that its sums are not deterministic",
      "spelling.layerNorm": "LayerNormalization has a kernel",
      "spelling.gelu": "Gelu of opset 20 and the contributed one have kernels",
      "spelling.silu": "com.microsoft QuickGelu has a kernel; alpha 1 is SiLU",
      "spelling.attention":
        "MultiHeadAttention runs flash or memory-efficient kernels by shape, type and mask",
      "spelling.rmsNorm": "the primitive chain is fused when the session is made",
      "spelling.affine": "Mul and Add by a constant per channel are elementwise kernels",
      "spelling.pointwise": "1x1 convolutions run as matrix products inside the library",
      integer: "QDQ selectors are registered for the CPU, DirectML and ACL providers only",
      palettes: "constant folding happens before nodes are given to a provider",
      sparsity: "no provider option reads zeros in weights",
      align: "tensor cores want multiples of 8 in half precision",
      "limits.operators": "kernels registered by the provider and its contributed operators",
      "limits.inlined": "GroupNormalization has no kernel and is written out when the session is made",
      "limits.pairsCost": "QuantizeLinear and DequantizeLinear are kernels of their own around products",
      "limits.fusedShapes":
        "GroupNorm takes 4-D channels-last input with fp32 gamma and beta and an even number of channels per group up to 512; BiasSplitGelu has kernels for five widths",
      "limits.attention":
        "flash attention wants a head size of a multiple of 8 up to 256, fp16 or bfloat16, no mask; the standard Attention throws on boolean masks and softcap",
      "limits.packedProducts":
        "the fast path wants blocks of 64 or 128, outputs in multiples of 64 (4 bits) or 32 (8 bits), K a multiple of the block, no bias and no g_idx",
    }),
    ...claims(
      "onnxruntime source: contrib_ops/cuda/diffusion, contrib_ops/cuda/bert and multihead_attention_helper.h",
      "2026-11-26",
      {
        "spelling.geglu":
          "BiasSplitGelu adds the bias, splits, and multiplies by the erf GELU in one kernel, in fp32 inside; it exists for fp32 and fp16 of certain widths, other feed-forwards stay Split, Gelu and Mul",
        packedAttention:
          "MultiHeadAttention reads [batch, tokens, heads, 3, width], and [batch, tokens, heads, 2, width] for keys and values, without a transposition in its fused fp16 kernels; onnxruntime's own optimizer packs for fp16 alone",
      },
    ),
  ],
};
