import { claims, HALF, measured, ORT_CPU, ORT_SOURCE, SESSION, SESSION_CLAIMS } from "./claims.ts";
import { CPU_LIMITS } from "./cpu-limits.ts";
import type { Target } from "./target.ts";

const DOCS = "onnxruntime documentation and MLAS sources of 2026-03";
const SHARED = "as measured with onnxruntime-node 1.30.0 on x86-64; the same graph transformers run on arm64";

/** onnxruntime on 64-bit Arm processors. What depends on the processor is not measured: none was at hand. */
export const cpuArm64: Target = {
  id: "cpu-arm64",
  title: "onnxruntime CPU on 64-bit Arm",
  kind: "cpu",
  provider: { name: "cpu", options: {} },
  opset: { min: 7, max: 26, emit: 21 },
  shapes: { static: false, maxRank: 8 },
  formats: {
    f32: { gemm: "float", conv: "float" },
    f16: {
      gemm: "float",
      conv: "float",
      use: "storage",
      note: "a size format: weights are stored in half precision and widened when the model loads; arithmetic is fp32",
    },
    bf16: {
      gemm: "float",
      conv: "float",
      use: "storage",
      note: "a size format: weights are stored in bfloat16 and widened when the model loads; arithmetic is fp32",
    },
    w8: {
      gemm: "fold-channel",
      conv: "fold-channel",
      note: "a size format: widened to fp32 when the model loads, at fp32 speed in fp32 memory",
    },
    w4: {
      gemm: "matmul-nbits",
      conv: "fold-block",
      accuracyLevel: 0,
      note: "linear layers stay packed in memory; convolutions are widened to fp32 when the model loads",
    },
    w2: {
      gemm: "matmul-nbits",
      conv: "fold-block",
      accuracyLevel: 0,
      note: "linear layers stay packed in memory; convolutions are widened to fp32 when the model loads",
    },
  },
  compute: ["f32"],
  spelling: {
    groupNorm: "InstanceNormalization",
    layerNorm: "LayerNormalization",
    gelu: "Gelu",
    silu: "QuickGelu",
    attention: "com.microsoft.MultiHeadAttention",
    rmsNorm: "decomposed",
    affine: "BatchNormalization",
    pointwise: "MatMul",
  },
  integer: {
    spelling: "qlinear",
    activations: "u8",
    scales: "gathered",
    weightScales: "all",
    dynamic: true,
    saturates: false,
  },
  palettes:
    "a size format: codebooks are looked up when the model loads, so weights take fp32 memory and run at fp32 speed",
  sparsity: { fast: [], note: "kernels are dense: zeros cost time and memory like other weights" },
  half: HALF,
  align: { channels: 4, bytes: 4096 },
  limits: { ...SESSION, ...CPU_LIMITS },
  sources: [
    ...SESSION_CLAIMS,
    ...claims(SHARED, "2026-11-26", {
      provider: "the CPU provider is always present and needs no options",
      opset: "models above opset 26 are refused at load",
      shapes: "symbolic dimensions are accepted and no rank limit is reached by diffusion graphs",
      "formats.bf16": "bfloat16 products have no kernel; Cast from bfloat16 folds at load",
      "formats.w8": "Cast and Mul of constants fold at load; DequantizeLinear of a weight runs every time",
      "formats.w4":
        "MatMulNBits runs packed with 4 bits; int4 Cast, Mul and Reshape of constants fold at load",
      "formats.w2": "MatMulNBits runs packed with 2 bits; int2 constants load from opset 25 on and fold",
      spelling: "fusions at session creation do not depend on the processor",
      palettes: "Gather of a constant codebook by constant indices folds when the session is made",
      sparsity: "sparse initializers are expanded to dense ones when the model loads",
    }),
    ...claims(DOCS, "2026-11-23", {
      "formats.f16":
        "half-precision kernels exist on arm64 for some operators; which of a diffusion graph would use them was not measured, so weights are widened as on x86-64",
      compute: "fp32 kernels of MLAS use NEON and KleidiAI",
      integer:
        "kernels are NEON, then UDOT and SDOT, then UMMLA and SMMLA; signed times signed is native, and none of them adds in 16 bits",
      align: "NEON vectors hold four floats",
    }),
    ...measured(ORT_CPU, "2026-11-26", {
      "limits.noKernel":
        "contributed operators of GPU providers have no CPU kernel and the session fails to load",
      "limits.noKernelTypes": "bfloat16 products have no CPU kernel and the session fails to load",
      "limits.floatZeroPoints": "MatMulNBits of 8 bits with float zero points is refused",
      "limits.closedUnits": "Conv between DequantizeLinear and no QuantizeLinear stays float",
      "limits.unfused": "16-bit Q/DQ and int4 convolution weights stay float",
      "limits.blockDequantize":
        "block-wise DequantizeLinear before MatMul becomes MatMulNBits of accuracy level 4",
      "limits.integerBias":
        "a Gemm whose bias has another scale than the product is computed as if it had not",
      "limits.pairs": "Q/DQ around the listed operators becomes QLinear operators or disappears",
    }),
    ...claims(ORT_SOURCE, "2026-11-23", {
      "limits.operators":
        "the CPU provider is the reference: every standard operator of opset 26 or lower runs",
    }),
  ],
};
