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
      why: "integer weights need quantized activations on this NPU, which this version does not write yet",
    },
    w4: {
      gemm: null,
      conv: null,
      fallback: "f16",
      why: "MatMulNBits is not supported on this NPU and int4 weights need quantized activations, which this version does not write yet",
    },
  },
  compute: ["f16"],
  spelling: {
    groupNorm: "GroupNormalization",
    layerNorm: "LayerNormalization",
    gelu: "Gelu",
    silu: "decomposed",
    attention: "decomposed",
    rmsNorm: "decomposed",
    affine: "decomposed",
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
  sources: [
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
  ],
};
