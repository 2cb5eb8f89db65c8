import { claims, MOVING_UNITS, ORT_SOURCE, SESSION_CLAIMS } from "./claims.ts";
import { HEXAGON_X, HEXAGON_X_CLAIMS } from "./machines/qualcomm.ts";
import { QNN_LIMITS } from "./qnn-htp-limits.ts";
import type { Target } from "./target.ts";

const EP = "onnxruntime QNN execution provider 2.x source";
const DOCS = "Qualcomm AI Engine Direct and onnxruntime QNN documentation";

/** Qualcomm Hexagon NPU through onnxruntime's QNN provider. No such hardware was at hand: nothing here is measured. */
export const qnnHtp: Target = {
  id: "qnn-htp",
  title: "Qualcomm Hexagon NPU through onnxruntime QNN",
  kind: "npu",
  provider: { name: "qnn", options: { backend_type: "htp", enable_htp_fp16_precision: "1" } },
  opset: { min: 7, max: 21, emit: 21 },
  shapes: { static: true, maxRank: 5 },
  formats: {
    f32: { gemm: "float", conv: "float", note: "the provider runs float models in half precision" },
    f16: { gemm: "float", conv: "float", use: "compute" },
    bf16: { gemm: null, conv: null, fallback: "f16", why: "the provider has no bfloat16" },
    w8: {
      gemm: null,
      conv: null,
      fallback: "f16",
      why: "integer weights need quantized activations on this NPU: quantize-static writes both",
    },
    w4: {
      gemm: null,
      conv: null,
      fallback: "f16",
      why: "MatMulNBits is not supported on this NPU and int4 weights need quantized activations, which quantize-static writes (weights: 4)",
    },
    w2: {
      gemm: null,
      conv: null,
      fallback: "f16",
      why: "MatMulNBits is not supported on this NPU",
    },
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
    activations: "u16",
    scales: "constant",
    weightScales: "conv",
    expandedBlock: 32,
    dynamic: false,
    saturates: false,
  },
  palettes:
    "a size format: codebooks are looked up before the graph is compiled, so weights take float memory and run at float speed",
  sparsity: {
    fast: [],
    note: "the converter keeps weights dense: zeros cost time and memory like other weights",
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
  align: { channels: 32, bytes: 4096 },
  machine: HEXAGON_X,
  limits: QNN_LIMITS,
  variants: {
    default: "v73",
    of: {
      v69: {
        title: "Hexagon v69",
        overrides: { limits: { islands: { float: false, lastAxisNorm: true, productEquations: true } } },
      },
      v73: { title: "Hexagon v73", overrides: {} },
      "v75+": {
        title: "Hexagon v75 and later",
        overrides: {
          limits: {
            productTypes: {
              pairs: [
                ["u8", "u8"],
                ["u8", "u16"],
                ["u16", "u8"],
                ["u8", "i8"],
                ["u16", "i8"],
                ["u16", "i4"],
                ["u16", "i16"],
                ["u16", "u16"],
              ],
              wideFromOpset: 21,
            },
          },
        },
      },
    },
  },
  sources: [
    ...SESSION_CLAIMS,
    ...claims(EP, "2026-11-23", {
      "limits.operators":
        "operators with a builder in the provider; MatMulNBits is lowered on the GPU backend only",
      "limits.integerBias":
        "a bias off the grid of its products is quantized again by the provider, tolerance 1e-5",
      "limits.pairs":
        "operators with a QDQ selector; GroupNormalization, Swish and QuickGelu are not among them and run in float",
      "limits.npu":
        "Conv of rank 3 to 5, InstanceNormalization 3 to 4, Resize 3 to 5 over spatial dims without antialias; ceil and round_prefer_floor do not go with asymmetric; Gemm has alpha and beta of 1",
      "limits.weightAxes":
        "convolution weights have their scales along axis 0, transposed ones along axis 1; weights of 16 bits take one scale",
      "limits.fixedGrids": "the helper writes 1/65536 for 16-bit sigmoids and 1/32768 for tangents",
      "limits.islands":
        "LayerNormalization on the last axis only; equations of Einsum that are products only",
    }),
    ...claims(ORT_SOURCE, "2026-11-26", {
      integer:
        "operators that only move data lose their conversions where scale and zero point are one on both sides; other pairs are kept",
    }),
    ...claims(DOCS, "2026-11-23", {
      "limits.productTypes":
        "MatMul takes (u8,u8), (u8,u16) and (u16,u8); 16-bit Q/DQ below opset 21 is contributed",
      "variants.v69": "fp16 arithmetic begins with v73",
      "variants.v73": "fp16 arithmetic, and convolutions of 16-bit activations",
      "variants.v75+":
        "products of two 16-bit factors; which release allows them on which chip is unverified",
    }),
    {
      field: "provider",
      claim: "backend_type htp selects the NPU; enable_htp_fp16_precision is on by default",
      source: DOCS,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "opset",
      claim:
        "Q/DQ of 16 bits needs opset 21 or com.microsoft; GroupNormalization needs the per-channel form of opset 21",
      source: EP,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "shapes",
      claim: "static shapes only, no Loop; rank at most 5, InstanceNormalization 3 to 4, Resize 3 to 5",
      source: EP,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "formats.f32",
      claim: "float models run as fp16 on Hexagon v73 and later",
      source: DOCS,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "formats.f16",
      claim: "fp16 graphs run on Hexagon v73 and later",
      source: DOCS,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "formats.bf16",
      claim: "types listed for HTP are fp16, 4-, 8- and 16-bit integers",
      source: DOCS,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "formats.w8",
      claim: "MatMul takes (u8,u8), (u8,u16) or (u16,u8): weights of 8 bits come with quantized activations",
      source: DOCS,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "formats.w4",
      claim: "MatMulNBits is lowered on the GPU backend only",
      source: EP,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "formats.w2",
      claim: "MatMulNBits is lowered on the GPU backend only",
      source: EP,
      checked: "2026-11-26",
      measured: false,
    },
    {
      field: "compute",
      claim: "float arithmetic on HTP is fp16",
      source: DOCS,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "spelling.groupNorm",
      claim: "GroupNormalization with per-channel scale and bias runs in float",
      source: EP,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "spelling.layerNorm",
      claim: "LayerNormalization on the last axis only",
      source: EP,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "spelling.gelu",
      claim: "Gelu is taken as one node",
      source: EP,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "spelling.geglu",
      claim: "BiasSplitGelu is not in the operator list; Split, Gelu and Mul are",
      source: EP,
      checked: "2026-11-26",
      measured: false,
    },
    {
      field: "spelling.silu",
      claim: "Sigmoid and Mul are supported; Swish and QuickGelu are not in the operator list",
      source: EP,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "spelling.attention",
      claim: "neither Attention nor MultiHeadAttention is in the operator list",
      source: EP,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "spelling.rmsNorm",
      claim: "RMSNormalization needs opset 23; the builds here are opset 21",
      source: EP,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "spelling.affine",
      claim: "Mul and Add by a constant per channel are accepted as they are",
      source: "QNN execution provider documentation",
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "spelling.pointwise",
      claim: "1x1 convolutions are native and stay in the layout of their neighbours",
      source: "QNN execution provider documentation",
      checked: "2026-11-26",
      measured: false,
    },
    {
      field: "integer",
      claim:
        "the provider groups DequantizeLinear, operator and QuantizeLinear and reads scales when it compiles the graph, so they are constants; activations are u16 or u8, MatMul takes (u8,u8), (u8,u16) or (u16,u8) with one scale per weight, convolutions one per output channel in s8",
      source: EP,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "integer",
      claim:
        "a product whose 4-bit weight is dequantized block by block with scales behind a DequantizeLinear per output channel becomes a product with LPBQ encodings; the weight's zero point tells 4 bits from 8, and a Gemm is recognised where its result is quantized",
      source: "onnxruntime QNN provider sources, node groups of LPBQ products",
      checked: "2026-11-26",
      measured: false,
    },
    {
      field: "integer",
      claim: "onnxruntime's own helper for this NPU writes 16-bit activations and 8-bit weights (w8a16)",
      source: DOCS,
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "palettes",
      claim:
        "constant folding of the runtime happens before nodes are given to a provider, so a looked-up weight reaches the compiler dense",
      source: "onnxruntime graph optimizer sources",
      checked: "2026-11-26",
      measured: false,
    },
    {
      field: "sparsity",
      claim: "the execution provider has no option for weight sparsity",
      source: "onnxruntime QNN provider sources",
      checked: "2026-11-26",
      measured: false,
    },
    {
      field: "half",
      claim:
        "Resize scales stay fp32 by definition; Range and the like stay fp32 in onnxruntime's own converter; fp16 has a largest value of 65504",
      source: "ONNX operator specification; onnxruntime float16 converter",
      checked: "2026-11-23",
      measured: false,
    },
    {
      field: "align",
      claim: "HTP vectors hold 32 fp16 or 128 int8 elements; external data follows the specification's 4096",
      source: DOCS,
      checked: "2026-11-23",
      measured: false,
    },
    ...HEXAGON_X_CLAIMS,
  ],
};
