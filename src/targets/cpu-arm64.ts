import { claims, HALF, measured, ORT_CPU, ORT_SOURCE, SESSION, SESSION_CLAIMS } from "./claims.ts";
import { CPU_LIMITS } from "./cpu-limits.ts";
import { cpuX64 } from "./cpu-x64.ts";
import { GRAVITON3_CLAIMS, GRAVITON3_CORE } from "./machines/arm.ts";
import type { Target } from "./target.ts";

const DOCS = "onnxruntime documentation and MLAS sources of 2026-03";
const SHARED = "as measured with onnxruntime-node 1.30.0 on x86-64; the same graph transformers run on arm64";

/** onnxruntime on 64-bit Arm processors. What depends on the processor is not measured: none was at hand. */
export const cpuArm64: Target = {
  id: "cpu-arm64",
  title: "onnxruntime CPU on 64-bit Arm",
  kind: cpuX64.kind,
  provider: cpuX64.provider,
  opset: cpuX64.opset,
  shapes: cpuX64.shapes,
  // Two bits are not known to multiply slower than fp32 there: that is measured on x86-64 alone.
  formats: { ...cpuX64.formats, w2: cpuX64.formats.w4 },
  compute: cpuX64.compute,
  spelling: cpuX64.spelling,
  integer: { ...cpuX64.integer!, saturates: false },
  palettes: cpuX64.palettes,
  sparsity: { fast: [], note: "kernels are dense: zeros cost time and memory like other weights" },
  half: HALF,
  align: { channels: 4, bytes: 4096 },
  machine: GRAVITON3_CORE,
  limits: { ...SESSION, ...CPU_LIMITS },
  sources: [
    ...SESSION_CLAIMS,
    ...GRAVITON3_CLAIMS,
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
      "limits.packedAttention": "MultiHeadAttention with packed queries, keys and values fails when it runs",
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
