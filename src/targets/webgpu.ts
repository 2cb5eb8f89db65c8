import { claims, SESSION, SESSION_CLAIMS } from "./claims.ts";
import { ADRENO_X, ADRENO_X_CLAIMS } from "./machines/qualcomm.ts";
import type { Target } from "./target.ts";

const PROBE =
  "earlier probe of onnxruntime-node 1.30.0, WebGPU provider on software Vulkan; not repeated here";
const MEASURED =
  "npm run webgpu: onnxruntime-node 1.30.0, WebGPU provider on lavapipe of Mesa 25.0.7, no CPU fallback";
const BROWSER = "npm run browser: onnxruntime-web 1.30.0 in headless Chromium 156";
const SOURCE_TREE = "onnxruntime source of 2026-03";

/** onnxruntime's WebGPU provider: in browsers and natively. */
export const webgpu: Target = {
  id: "webgpu",
  title: "onnxruntime WebGPU, browser and native",
  kind: "gpu",
  provider: { name: "webgpu", options: {} },
  opset: { min: 7, max: 24, emit: 21 },
  shapes: { static: false, maxRank: 8 },
  formats: {
    f32: { gemm: "float", conv: "float" },
    f16: {
      gemm: "float",
      conv: "float",
      use: "compute",
      note: "products and convolutions are summed in half precision, which figures taken on a processor do not show; exclude of convert-float keeps them in fp32",
    },
    bf16: { gemm: null, conv: null, fallback: "f16", why: "shaders have no bfloat16 type" },
    w8: {
      gemm: "matmul-nbits",
      conv: "fold-channel",
      accuracyLevel: 0,
      note: "linear layers stay packed in GPU memory; convolutions are widened when the model loads",
    },
    w4: {
      gemm: "matmul-nbits",
      conv: "dequantize-block",
      accuracyLevel: 0,
      note: "linear layers stay packed in GPU memory; convolutions are widened when the model loads",
    },
    w2: {
      gemm: null,
      conv: null,
      fallback: "w4",
      why: "the kernel takes no zero points at 2 bits",
    },
  },
  compute: ["f32", "f16"],
  spelling: {
    groupNorm: "InstanceNormalization",
    layerNorm: "LayerNormalization",
    gelu: "Gelu",
    geglu: "decomposed",
    silu: "decomposed",
    attention: "decomposed",
    rmsNorm: "decomposed",
    affine: "decomposed",
    pointwise: "Conv",
  },
  integer: null,
  integerWhy: "the provider has no kernel for QuantizeLinear, so activations stay float",
  palettes:
    "a size format: codebooks are looked up when the model loads, so weights take float memory and run at float speed",
  sparsity: {
    fast: [],
    note: "shaders are dense: zeros cost time and memory like other weights",
  },
  int64: {
    why: "the provider computes with 32-bit integers: a Cast from int64 runs on the CPU",
  },
  half: {
    keepF32Inputs: [
      { op: "Resize", inputs: [1, 2] },
      { op: "Upsample", inputs: [1] },
      { op: "com.microsoft:GroupNorm", inputs: [1, 2] },
    ],
    f32Ops: ["Range", "CumSum", "NonMaxSuppression", "RoiAlign"],
    f32Ancestors: ["Sin", "Cos"],
    margin: 4,
  },
  align: { channels: 4, bytes: 65536 },
  machine: ADRENO_X,
  limits: {
    ...SESSION,
    operators: {
      standard: {
        except: [
          "QuantizeLinear",
          "Attention",
          "SpaceToDepth",
          "QLinearConv",
          "QLinearMatMul",
          "ConvInteger",
          "MatMulInteger",
          "DynamicQuantizeLinear",
        ],
      },
      contrib: [
        "Attention",
        "BiasAdd",
        "BiasGelu",
        "BiasSplitGelu",
        "FastGelu",
        "FusedConv",
        "GatherBlockQuantized",
        "Gelu",
        "MatMulNBits",
        "MultiHeadAttention",
        "QuickGelu",
        "RotaryEmbedding",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
      ],
    },
    noKernel: ["com.microsoft:GroupNorm", "com.microsoft:SkipGroupNorm", "com.microsoft:NhwcConv"],
    packedAttention: false,
    inlined: ["GroupNormalization"],
    shaders: {
      splitOutputs: 15,
      resize: { antialias: false, notInHalf: ["cubic"] },
    },
    shaderProducts: {
      bits: [2, 4, 8],
      blocks: [32],
      kMultiple: 128,
      nMultiple: { 2: 16, 4: 16, 8: 16 },
      noZeroPointsAt: [2],
      headMultiple: 4,
    },
  },
  variants: {
    default: "native",
    of: {
      native: { title: "native", overrides: {} },
      browser: {
        title: "in a browser",
        overrides: { limits: { page: { totalBytes: 2 ** 32, tensorBytes: 2 ** 31 } } },
      },
    },
  },
  sources: [
    ...SESSION_CLAIMS,
    ...claims(PROBE, "2026-11-23", {
      "limits.operators":
        "QuantizeLinear, the standard Attention, SpaceToDepth and DynamicQuantizeMatMul run on the CPU; 92 single-operator models ran",
      "limits.noKernel": "GroupNorm, SkipGroupNorm and NhwcConv have no kernel here nor on the CPU",
      "limits.inlined": "GroupNormalization is written out, with two of 29 nodes left on the CPU",
      "limits.shaders":
        "Split with 16 or more outputs exceeds the storage buffers; Resize with antialias fails, cubic in fp16 too",
      "limits.packedAttention": "packed query, key and value are not implemented",
      "variants.native": "the provider is bundled with the Linux package",
    }),
    ...claims(SOURCE_TREE, "2026-11-23", {
      "limits.shaderProducts":
        "the dot-product path wants blocks of 32, K a multiple of 128 and N of 16; no zero points at 2 bits; flash attention wants a head size of a multiple of 4",
    }),
    ...claims("onnxruntime-web documentation", "2026-11-23", {
      "limits.page": "memory of a page ends at 4 GB and one array buffer near 2 GB",
      "variants.browser":
        "a page addresses 4 GB, and one array buffer holds about 2 GB; larger files come as external data",
    }),
    {
      field: "provider",
      claim: "the provider is bundled with the Linux package and is called webgpu there and in browsers",
      source: `${MEASURED}; ${BROWSER}`,
      checked: "2026-11-26",
      measured: true,
    },
    {
      field: "opset",
      claim: "kernels are registered up to opset 24; the runtime loads up to 26",
      source: SOURCE_TREE,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "shapes",
      claim:
        "symbolic dimensions are accepted, but shape arithmetic runs on the CPU: a session without CPU fallback needs fixed shapes (85 nodes of the U-Net otherwise)",
      source: MEASURED,
      checked: "2026-11-26",
      measured: true,
    },
    {
      field: "formats.f16",
      claim:
        "both networks run wholly in shader-f16; sums of products are kept in fp16, so builds are 45 to 46 dB from the same graph on the CPU along a trajectory, 38 to 41 dB at the worst call; adapters without shader-f16 refuse the session",
      source: MEASURED,
      checked: "2026-11-26",
      measured: true,
    },
    {
      field: "formats.bf16",
      claim: "WGSL has f32 and f16 only",
      source: "WebGPU Shading Language specification",
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "formats.w8",
      claim:
        "MatMulNBits runs with 8 bits; constants fold on the CPU when the model loads; the default entry of onnxruntime-web has 2 and 4 bits only, its webgpu entry has 8",
      source: `${MEASURED}; ${BROWSER}`,
      checked: "2026-11-26",
      measured: true,
    },
    {
      field: "formats.w4",
      claim:
        "MatMulNBits runs with 4 bits, 112 dB and more from the CPU; int4 weights behind a block-wise DequantizeLinear are widened when the model loads, natively and in browsers, where a Cast from int4 has no kernel",
      source: `${MEASURED}; ${BROWSER}`,
      checked: "2026-11-26",
      measured: true,
    },
    {
      field: "formats.w4",
      claim:
        "the fast path of MatMulNBits wants block 32, K a multiple of 128, N of 16 and accuracy_level 4; zero points are uint8",
      source: `${PROBE}; ${SOURCE_TREE}`,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "formats.w2",
      claim: "MatMulNBits has no zero points at 2 bits",
      source: `${PROBE}; ${SOURCE_TREE}`,
      checked: "2026-11-26",
      measured: false,
    },
    {
      field: "compute",
      claim:
        "arithmetic is done in the graph's type: a product peaking at 130,000 gives infinity in fp16, attention scores of 160,000 give 0; fp32 islands restore 53 dB and more",
      source: MEASURED,
      checked: "2026-11-26",
      measured: true,
    },
    {
      field: "spelling.groupNorm",
      claim: "InstanceNormalization runs in fp32 (120 dB and more from the CPU) and fp16 (68 dB)",
      source: MEASURED,
      checked: "2026-11-26",
      measured: true,
    },
    {
      field: "spelling.groupNorm",
      claim: "GroupNorm has no kernel and GroupNormalization is inlined with two nodes left on the CPU",
      source: PROBE,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "spelling.layerNorm",
      claim: "LayerNormalization runs in fp32 (120 dB and more from the CPU) and fp16 (68 dB)",
      source: MEASURED,
      checked: "2026-11-26",
      measured: true,
    },
    {
      field: "spelling.gelu",
      claim: "Gelu of opset 20 runs",
      source: MEASURED,
      checked: "2026-11-26",
      measured: true,
    },
    {
      field: "spelling.geglu",
      claim: "BiasSplitGelu runs, but whether it gains over Add, Split, Gelu and Mul was not measured",
      source: PROBE,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "spelling.silu",
      claim: "Sigmoid and Mul run and are fused when the session is made; Swish needs opset 24",
      source: PROBE,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "spelling.attention",
      claim:
        "MultiHeadAttention with 32 queries or more takes a flash kernel whose weights are off by some percent there (31 dB, in fp32 too; with 16 queries 120 dB and more); products and a softmax agree to 107 dB over a whole network. Packed forms and the standard Attention do not run",
      source: MEASURED,
      checked: "2026-11-26",
      measured: true,
    },
    {
      field: "spelling.rmsNorm",
      claim: "RMSNormalization runs, but only from opset 23",
      source: PROBE,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "spelling.affine",
      claim:
        "Mul and Add by a constant per channel are plain elementwise kernels; BatchNormalization brings nothing there",
      source: "onnxruntime source of 2026-03",
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "spelling.pointwise",
      claim: "1x1 convolutions run as matrix products inside the kernel",
      source: "onnxruntime source of 2026-03",
      checked: "2026-11-26",
      measured: false,
    },
    {
      field: "integer",
      claim: "QuantizeLinear and DynamicQuantizeMatMul are not registered; DequantizeLinear is, for weights",
      source: PROBE,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "int64",
      claim:
        "an int64 timestep leaves Unsqueeze and Cast on the CPU, positions of Gather may be int64; the node binding does not pass enableInt64 on",
      source: MEASURED,
      checked: "2026-11-26",
      measured: true,
    },
    {
      field: "palettes",
      claim:
        "constant folding of the runtime happens before nodes are given to a provider, so a looked-up weight reaches the shaders dense",
      source: "onnxruntime graph optimizer sources",
      checked: "2026-11-26",
      measured: false,
    },
    {
      field: "sparsity",
      claim: "matrix and convolution shaders have no sparse form",
      source: "onnxruntime WebGPU provider sources",
      checked: "2026-11-26",
      measured: false,
    },
    {
      field: "half",
      claim:
        "Resize scales stay fp32 by definition and contrib GroupNorm wants fp32 gamma and beta; InstanceNormalization in fp16 is off by 5e-2 on data with mean 3000",
      source: `ONNX operator specification; ${PROBE}`,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "align",
      claim:
        "the specification recommends offsets of 64 KiB where files are mapped on Windows; vec4 kernels want 4 channels",
      source: `ONNX external data; ${SOURCE_TREE}`,
      checked: "2026-11-23",
      measured: false,
    },
    ...ADRENO_X_CLAIMS,
  ],
};
