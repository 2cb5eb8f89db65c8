import { claims, measured, SESSION, SESSION_CLAIMS } from "./claims.ts";
import { CPU_LIMITS } from "./cpu-limits.ts";
import { AMX_CORE, AVX2_CORE, VNNI_CORE, X64_CLAIMS } from "./machines/x64.ts";
import type { IntegerSupport, Target } from "./target.ts";

const ORT = "onnxruntime-node 1.30.0, CPU execution provider";

/** Operators on integers; AVX2 adds their products in 16 bits. */
const INTEGER: IntegerSupport = {
  spelling: "qlinear",
  activations: "u8",
  scales: "gathered",
  weightScales: "all",
  dynamic: true,
  saturates: true,
};

/** onnxruntime on x86-64 processors. */
export const cpuX64: Target = {
  id: "cpu-x64",
  title: "onnxruntime CPU on x86-64",
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
      note: "linear layers stay packed in memory and multiply slower than in fp32; convolutions are widened to fp32 when the model loads",
    },
  },
  compute: ["f32"],
  spelling: {
    groupNorm: "InstanceNormalization",
    layerNorm: "LayerNormalization",
    gelu: "Gelu",
    geglu: "decomposed",
    silu: "QuickGelu",
    attention: "com.microsoft.MultiHeadAttention",
    rmsNorm: "decomposed",
    affine: "BatchNormalization",
    pointwise: "MatMul",
  },
  integer: INTEGER,
  palettes:
    "a size format: codebooks are looked up when the model loads, so weights take fp32 memory and run at fp32 speed",
  sparsity: {
    fast: [],
    note: "kernels are dense: zeros cost time and memory like other weights, and sparse_initializer is expanded when the model loads",
  },
  half: {
    keepF32Inputs: [
      { op: "Resize", inputs: [1, 2] },
      { op: "Upsample", inputs: [1] },
    ],
    f32Ops: ["Range", "CumSum", "NonMaxSuppression", "RoiAlign"],
    f32Ancestors: ["Sin", "Cos"],
    margin: 4,
  },
  align: { channels: 8, bytes: 4096 },
  machine: AVX2_CORE,
  limits: { ...SESSION, ...CPU_LIMITS, signedProducts: { fromOpset: 21 } },
  variants: {
    default: "avx2",
    of: {
      avx2: { title: "AVX2", overrides: {} },
      "avx512-vnni": {
        title: "AVX-512 VNNI",
        overrides: {
          integer: { ...INTEGER, saturates: false },
          machine: VNNI_CORE,
        },
      },
      amx: {
        title: "AMX",
        overrides: {
          integer: { ...INTEGER, saturates: false },
          machine: AMX_CORE,
        },
      },
    },
  },
  sources: [
    ...SESSION_CLAIMS,
    ...X64_CLAIMS,
    ...measured(ORT, "2026-11-26", {
      "limits.noKernel":
        "contributed operators of GPU providers have no CPU kernel and the session fails to load",
      "limits.packedAttention": "MultiHeadAttention with packed queries, keys and values fails when it runs",
      "limits.noKernelTypes":
        "products and convolutions in bfloat16, and DequantizeLinear of fp4, have no CPU kernel and the session fails to load",
      "limits.floatZeroPoints": "MatMulNBits of 8 bits with float zero points is refused",
      "limits.closedUnits":
        "Conv behind DequantizeLinear stays float without a QuantizeLinear behind it; signed activations with several readers stay float",
      "limits.unfused": "16-bit Q/DQ and int4 convolution weights stay float",
      "limits.blockDequantize":
        "block-wise DequantizeLinear before MatMul becomes MatMulNBits of accuracy level 4, unless two products share it",
      "limits.integerBias":
        "a Gemm whose bias has another scale than the product is computed as if it had not",
      "limits.pairs": "Q/DQ around the listed operators becomes QLinear operators or disappears",
      "limits.signedProducts":
        "QuantizeLinear with output_dtype beside a signed zero point fails to load, and so does a three-dimensional product of signed activations with a bias from opset 21 on",
      "variants.avx2": "without dot-product instructions pairs of products saturate at 16 bits",
    }),
    ...claims("onnxruntime documentation and MLAS sources of 2026-03", "2026-11-23", {
      "limits.operators":
        "the CPU provider is the reference: every standard operator of opset 26 or lower runs",
      "variants.avx512-vnni": "VNNI adds four products in 32 bits: full-range weights are exact",
      "variants.amx":
        "tiles multiply unsigned activations by signed weights in 32 bits; signed activations do not use them",
    }),
    {
      field: "provider",
      claim: "the CPU provider is always present and needs no options",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "opset",
      claim:
        "models above opset 26 or IR version 13 are refused at load; Q/DQ of opset 21 has int4, int8 and int16 kernels",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "shapes",
      claim:
        "symbolic dimensions are accepted; Transpose and broadcasting kernels have no rank limit that diffusion graphs reach",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "formats.f16",
      claim:
        "x64 has no half-precision Conv, MatMul, Gemm or Softmax kernels: the runtime inserts casts to fp32, while a Cast of a constant folds at load and costs nothing per run",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "formats.bf16",
      claim:
        "bfloat16 MatMul, Conv, Add and Softmax have no kernel and the session fails to load; Cast from bfloat16 folds at load",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "formats.w8",
      claim:
        "DequantizeLinear of a weight is kept and evaluated on every run (cifar-unet, one thread: 8.5 ms against 6.7 ms), and MatMul behind it becomes MatMulNBits with accuracy_level 4 (66 dB against the exact weights); Cast and Mul of constants fold at load (6.8 ms, bit-equal to fp32 weights of the same value)",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "formats.w4",
      claim:
        "MatMulNBits with 4 bits runs packed at any accuracy_level; level 4 quantizes activations to int8 and adds 0.4 to 0.9 % error, level 0 keeps fp32 arithmetic, while level 4 gives zeros when the scales are computed by a Cast that was not folded; int4 Cast, Mul and Reshape of constants fold at load",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "formats.w2",
      claim:
        "MatMulNBits runs packed with 2 bits at accuracy_level 0, zero points included; int2 constants load from opset 25 on and their Cast, Mul and Reshape fold at load",
      source: ORT,
      checked: "2026-11-26",
      measured: true,
    },
    {
      field: "compute",
      claim:
        "half-precision graphs are computed in fp32 between inserted casts, so fp16 overflow cannot be observed",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "spelling.groupNorm",
      claim:
        "GroupNormalization has no kernel and is inlined to 29 primitive nodes; InstanceNormalization has one",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "spelling.layerNorm",
      claim: "LayerNormalization has a kernel with fp32 statistics",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "spelling.gelu",
      claim:
        "Gelu of opset 20 has a kernel; written-out chains are fused to it when the session is made, so writing it costs nothing and saves nodes",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "spelling.geglu",
      claim: "BiasSplitGelu has no kernel and a model with it fails to load",
      source: ORT,
      checked: "2026-11-26",
      measured: true,
    },
    {
      field: "spelling.silu",
      claim:
        "Sigmoid followed by Mul becomes QuickGelu with alpha 1 when the session is made; alone, each crosses memory once more (2x320x64x64, one thread: 7.1 ms against 11.0 ms with the group normalisation around it)",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "spelling.attention",
      claim:
        "written-out attention is not fused when the session is made; MultiHeadAttention takes 37 ms where the written form takes 44 ms (2x1024 tokens, 8 heads of 40, one thread), largest difference 3e-8",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "spelling.rmsNorm",
      claim: "RMSNormalization is opset 23 only; the primitive chain is fused when the session is made",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "spelling.affine",
      claim:
        "BatchNormalization with mean 0, variance 1 and epsilon 0 gives the bits of Mul and Add in one crossing of memory (2x320x64x64, one thread, group normalisation with SiLU: 6.0 ms against 7.1 ms)",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "spelling.pointwise",
      claim:
        "in float the product of tokens is as fast as the blocked convolution with its two reorders (cifar-unet, 14 projections, batch 16, one thread: 1.095 of the original either way); in 8 bits it needs no integer output and no transposition of floats",
      source: ORT,
      checked: "2026-11-26",
      measured: true,
    },
    {
      field: "integer",
      claim:
        "QLinearConv takes a scale and a bias that are looked up by timestep at the speed of constants (Conv 64 to 64, 3x3, on 16x64x16x16: 3.7 ms either way), with results of the written-out graph; behind DequantizeLinear a bias keeps Conv with looked-up scales in float",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "integer",
      claim:
        "DynamicQuantizeMatMul with signed weights takes 4.9 ms where the float product takes 13.4 ms (256x1280x1280, one thread); ConvInteger is slower than a float convolution; graphs with 16-bit Q/DQ are not fused",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "integer",
      claim:
        "without VNNI two products of an unsigned activation and a signed weight are added in 16 bits and saturate: all-127 weights give 1,048,544 instead of 2,072,640; weights that cannot reach the limit are exact",
      source: ORT,
      checked: "2026-11-23",
      measured: true,
    },
    {
      field: "palettes",
      claim:
        "Gather of a constant codebook by constant indices behind Cast and Add folds to one dense weight when the session is made",
      source: "onnxruntime-node 1.30.0, CPU execution provider",
      checked: "2026-11-26",
      measured: true,
    },
    {
      field: "sparsity",
      claim:
        "kernels of products and convolutions are dense and sparse initializers are expanded to dense ones when the model loads",
      source: "onnxruntime MLAS and graph loading sources; issues 5540 and 5578 of onnxruntime",
      checked: "2026-11-26",
      measured: false,
    },
    {
      field: "half",
      claim:
        "Resize scales and roi, and Upsample scales, are not of the data type; Range, CumSum, NonMaxSuppression and RoiAlign are kept in fp32 by onnxruntime's own converter; fp16 has a largest value of 65504",
      source: "ONNX operator specification; onnxruntime float16 converter",
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "align",
      claim:
        "any external offset loads; the specification recommends multiples of 4096; the CPU's blocked convolution works on 8 channels with AVX2",
      source: "ONNX external data; onnxruntime MLAS NCHWc",
      checked: "2026-11-23",
      measured: false,
    },
  ],
};
