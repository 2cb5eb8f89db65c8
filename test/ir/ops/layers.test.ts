import { describe, expect, it } from "vitest";
import { type Case, infer, types } from "./rule.ts";

const ms = "com.microsoft";

describe("convolutions and pools", () => {
  it.each<[Case, readonly string[]]>([
    [
      { op: "Conv", inputs: ["f32[b,4,h,w]", "f32[320,4,3,3]", "f32[320]"], attrs: { pads: [1, 1, 1, 1] } },
      ["f32[b,320,h,w]"],
    ],
    [
      {
        op: "Conv",
        inputs: ["f32[b,8,h,9]", "f32[8,8,3,3]"],
        attrs: { pads: [1, 1, 1, 1], strides: [2, 2] },
      },
      ["f32[b,8,floor((h+1)/2),5]"],
    ],
    [
      { op: "Conv", inputs: ["f32[1,8,10]", "f32[8,1,3]"], attrs: { group: 8, dilations: [2] } },
      ["f32[1,8,6]"],
    ],
    [
      {
        op: "Conv",
        inputs: ["f32[1,3,7,7]", "f32[4,3,3,3]"],
        attrs: { auto_pad: "SAME_UPPER", strides: [2, 2] },
      },
      ["f32[1,4,4,4]"],
    ],
    [
      { op: "Conv", inputs: ["f32[1,3,7,7]", "f32[4,3,3,3]"], attrs: { auto_pad: "VALID", strides: [2, 2] } },
      ["f32[1,4,3,3]"],
    ],
    [{ op: "Conv", inputs: ["f32[1,3,7,7]", "f32[...]"], attrs: { kernel_shape: [3, 3] } }, ["f32[1,?,5,5]"]],
    [
      {
        op: "ConvTranspose",
        inputs: ["f32[1,6,h,3]", "f32[6,2,3,3]"],
        attrs: { strides: [2, 2], group: 2, output_padding: [1, 0] },
      },
      ["f32[1,4,2*h+2,7]"],
    ],
    [
      {
        op: "ConvTranspose",
        inputs: ["f32[1,6,3,3]", "f32[6,2,3,3]"],
        attrs: { strides: [3, 2], output_shape: [10, 8] },
      },
      ["f32[1,2,10,8]"],
    ],
    [
      {
        op: "ConvTranspose",
        inputs: ["f32[1,6,3]", "f32[6,2,3]"],
        attrs: { strides: [2], auto_pad: "SAME_LOWER" },
      },
      ["f32[1,2,6]"],
    ],
    [{ op: "ConvInteger", inputs: ["u8[1,1,3,3]", "u8[1,1,2,2]", "u8[]"] }, ["i32[1,1,2,2]"]],
    [
      {
        op: "QLinearConv",
        inputs: ["u8[1,1,7,7]", "f32[]", "u8[]", "i8[2,1,1,1]", "f32[2]", "i8[2]", "f32[]", "u8[]", "i32[2]"],
      },
      ["u8[1,2,7,7]"],
    ],
    [{ op: "DeformConv", inputs: ["f32[1,1,3,3]", "f32[1,1,2,2]", "f32[1,8,2,2]"] }, ["f32[1,1,2,2]"]],
    [
      {
        op: "MaxPool",
        inputs: ["f32[1,3,h,32]"],
        attrs: { kernel_shape: [2, 2], strides: [2, 2] },
        outputs: 2,
      },
      ["f32[1,3,floor(h/2),16]", "i64[1,3,floor(h/2),16]"],
    ],
    [
      {
        op: "MaxPool",
        inputs: ["f32[1,1,4,4]"],
        attrs: { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 },
      },
      ["f32[1,1,2,2]"],
    ],
    [
      {
        op: "AveragePool",
        inputs: ["f32[1,1,2,2]"],
        attrs: { kernel_shape: [1, 1], strides: [2, 2], ceil_mode: 1 },
      },
      ["f32[1,1,1,1]"],
    ],
    [{ op: "LpPool", inputs: ["f32[1,1,6]"], attrs: { kernel_shape: [2], dilations: [2] } }, ["f32[1,1,4]"]],
    [{ op: "GlobalAveragePool", inputs: ["f32[b,8,h,w]"] }, ["f32[b,8,1,1]"]],
    [
      {
        op: "MaxUnpool",
        inputs: ["f32[1,1,2,2]", "i64[1,1,2,2]"],
        attrs: { kernel_shape: [2, 2], strides: [2, 2] },
      },
      ["f32[1,1,4,4]"],
    ],
    [
      { op: "MaxRoiPool", inputs: ["f32[1,8,9,9]", "f32[5,5]"], attrs: { pooled_shape: [2, 3] } },
      ["f32[5,8,2,3]"],
    ],
  ])("%j", (c, want) => {
    expect(types(c)).toEqual(want);
  });

  it.each<Case>([
    { op: "Conv", inputs: ["f32[1,5,7,7]", "f32[4,3,3,3]"] },
    { op: "Conv", inputs: ["f32[1,3,7,7]", "f32[4,3,3]"] },
    { op: "Conv", inputs: ["f32[1,3,7,7]", "f32[4,3,3,3]"], attrs: { strides: [0, 1] } },
    { op: "Conv", inputs: ["f32[1,3,7,7]", "f32[4,3,3,3]"], attrs: { pads: [1, 1] } },
    { op: "ConvTranspose", inputs: ["f32[1,5,3]", "f32[6,2,3]"] },
    { op: "MaxPool", inputs: ["f32[1,1,2]"] },
    { op: "AveragePool", inputs: ["f32[1,1,2]"], attrs: { kernel_shape: [3] } },
  ])("refuses %j", (c) => {
    expect(infer(c).problems).toEqual(["SHAPE_INVALID"]);
  });
});

describe("normalisations", () => {
  it.each<[Case, readonly string[]]>([
    [
      { op: "BatchNormalization", inputs: ["f32[b,8,h]", "f32[8]", "f32[8]", "f32[8]", "f32[8]"] },
      ["f32[b,8,h]"],
    ],
    [
      {
        op: "BatchNormalization",
        inputs: ["f32[b,8,h]", "f32[8]", "f32[8]", "f32[8]", "f32[8]"],
        attrs: { training_mode: 1 },
        outputs: 3,
      },
      ["f32[b,8,h]", "f32[8]", "f32[8]"],
    ],
    [{ op: "InstanceNormalization", inputs: ["f32[b,32,n]", "f32[32]", "f32[32]"] }, ["f32[b,32,n]"]],
    [
      { op: "GroupNormalization", inputs: ["f32[b,8,h]", "f32[8]", "f32[8]"], attrs: { num_groups: 4 } },
      ["f32[b,8,h]"],
    ],
    [
      {
        op: "GroupNormalization",
        opset: 18,
        inputs: ["f32[b,8,h]", "f32[4]", "f32[4]"],
        attrs: { num_groups: 4 },
      },
      ["f32[b,8,h]"],
    ],
    [
      { op: "LayerNormalization", inputs: ["f16[b,s,8]", "f16[8]", "f16[8]"], outputs: 3 },
      ["f16[b,s,8]", "f32[b,s,1]", "f32[b,s,1]"],
    ],
    [
      { op: "LayerNormalization", inputs: ["f16[b,s,8]", "f16[s,8]"], attrs: { axis: 1 }, outputs: 2 },
      ["f16[b,s,8]", "f32[b,1,1]"],
    ],
    [{ op: "RMSNormalization", opset: 23, inputs: ["f16[b,s,8]", "f32[8]"] }, ["f32[b,s,8]"]],
    [{ op: "Dropout", inputs: ["f32[b,8]"], outputs: 2 }, ["f32[b,8]", "bool[b,8]"]],
    [{ op: "Dropout", opset: 7, inputs: ["f32[b,8]"], outputs: 2 }, ["f32[b,8]", "f32[b,8]"]],
    [{ op: "LRN", inputs: ["f32[b,8,h,w]"], attrs: { size: 3 } }, ["f32[b,8,h,w]"]],
  ])("%j", (c, want) => {
    expect(types(c)).toEqual(want);
  });

  it.each<Case>([
    { op: "GroupNormalization", inputs: ["f32[b,8,h]", "f32[4]", "f32[4]"], attrs: { num_groups: 3 } },
    { op: "GroupNormalization", inputs: ["f32[b,8,h]", "f32[4]", "f32[8]"], attrs: { num_groups: 4 } },
    { op: "InstanceNormalization", inputs: ["f32[b,32,n]", "f32[31]", "f32[32]"] },
    { op: "LayerNormalization", inputs: ["f32[b,8]", "f32[8]"], attrs: { axis: 2 } },
  ])("refuses %j", (c) => {
    expect(infer(c).problems).toEqual(["SHAPE_INVALID"]);
  });
});

describe("products and attention", () => {
  it.each<[Case, readonly string[]]>([
    [{ op: "MatMul", inputs: ["f32[b,s,320]", "f32[320,640]"] }, ["f32[b,s,640]"]],
    [{ op: "MatMul", inputs: ["f32[b,8,s,40]", "f32[b,8,40,77]"] }, ["f32[b,8,s,77]"]],
    [{ op: "MatMul", inputs: ["f32[5]", "f32[3,5,2]"] }, ["f32[3,2]"]],
    [{ op: "MatMul", inputs: ["f32[5]", "f32[5]"] }, ["f32[]"]],
    [
      { op: "Gemm", inputs: ["f32[b,320]", "f32[1280,320]", "f32[1280]"], attrs: { transB: 1 } },
      ["f32[b,1280]"],
    ],
    [{ op: "Gemm", inputs: ["f32[320,b]", "f32[320,4]"], attrs: { transA: 1 } }, ["f32[b,4]"]],
    [{ op: "MatMulInteger", inputs: ["u8[4,3]", "i8[3,2]", "u8[]"] }, ["i32[4,2]"]],
    [
      {
        op: "QLinearMatMul",
        inputs: ["u8[2,4]", "f32[]", "u8[]", "i8[4,3]", "f32[]", "i8[]", "f32[]", "i8[]"],
      },
      ["i8[2,3]"],
    ],
    [
      { op: "Einsum", inputs: ["f32[b,i,k]", "f32[b,k,j]"], attrs: { equation: "bij,bjk->bik" } },
      ["f32[b,i,j]"],
    ],
    [{ op: "Einsum", inputs: ["f32[3,3]"], attrs: { equation: "ii" } }, ["f32[]"]],
    [
      { op: "Einsum", inputs: ["f32[2,h,4]", "f32[4,5]"], attrs: { equation: "...x, xy -> ...y" } },
      ["f32[2,h,5]"],
    ],
    [{ op: "Einsum", inputs: ["f32[h,2]"], attrs: { equation: "ba" } }, ["f32[2,h]"]],
    [{ op: "Det", inputs: ["f32[b,3,3]"] }, ["f32[b]"]],
    [
      {
        op: "Attention",
        opset: 23,
        inputs: ["f32[b,8,s,40]", "f32[b,8,77,40]", "f32[b,8,77,64]"],
        outputs: 1,
      },
      ["f32[b,8,s,64]"],
    ],
    [
      {
        op: "Attention",
        opset: 23,
        inputs: ["f32[b,s,320]", "f32[b,t,160]", "f32[b,t,160]", null, "f32[b,4,p,40]", "f32[b,4,p,40]"],
        attrs: { q_num_heads: 8, kv_num_heads: 4 },
        outputs: 4,
      },
      ["f32[b,s,320]", "f32[b,4,p+t,40]", "f32[b,4,p+t,40]", "f32[b,8,s,p+t]"],
    ],
    [
      { op: "RotaryEmbedding", opset: 23, inputs: ["f32[b,8,s,40]", "f32[s,20]", "f32[s,20]"] },
      ["f32[b,8,s,40]"],
    ],
    [
      {
        op: "MultiHeadAttention",
        domain: ms,
        inputs: ["f32[b,s,320]", "f32[b,77,320]", "f32[b,77,320]"],
        attrs: { num_heads: 8 },
      },
      ["f32[b,s,320]"],
    ],
    [
      { op: "MultiHeadAttention", domain: ms, inputs: ["f16[b,s,8,3,40]"], attrs: { num_heads: 8 } },
      ["f16[b,s,320]"],
    ],
    [
      { op: "Attention", domain: ms, inputs: ["f32[b,s,64]", "f32[64,192]"], attrs: { num_heads: 4 } },
      ["f32[b,s,64]"],
    ],
    [
      {
        op: "MatMulNBits",
        domain: ms,
        inputs: ["f32[b,s,64]", "u8[32,2,16]", "f32[64]"],
        attrs: { K: 64, N: 32 },
      },
      ["f32[b,s,32]"],
    ],
    [
      { op: "FusedMatMul", domain: ms, inputs: ["f32[b,s,40]", "f32[b,77,40]"], attrs: { transB: 1 } },
      ["f32[b,s,77]"],
    ],
    [{ op: "DynamicQuantizeMatMul", domain: ms, inputs: ["f32[b,8]", "i8[8,4]", "f32[4]"] }, ["f32[b,4]"]],
  ])("%j", (c, want) => {
    expect(types(c)).toEqual(want);
  });

  it.each<Case>([
    { op: "MatMul", inputs: ["f32[2,3]", "f32[4,2]"] },
    { op: "MatMul", inputs: ["f32[]", "f32[4,2]"] },
    { op: "Gemm", inputs: ["f32[2,3]", "f32[2,3]"] },
    { op: "Gemm", inputs: ["f32[2,3,4]", "f32[2,3]"] },
    { op: "Einsum", inputs: ["f32[2,3]"], attrs: { equation: "ijk->i" } },
    { op: "Einsum", inputs: ["f32[2,3]"], attrs: { equation: "ij->k" } },
    { op: "Attention", opset: 23, inputs: ["f32[b,s,320]", "f32[b,s,320]", "f32[b,s,320]"] },
    {
      op: "MatMulNBits",
      domain: ms,
      inputs: ["f32[b,s,60]", "u8[32,2,16]", "f32[64]"],
      attrs: { K: 64, N: 32 },
    },
  ])("refuses %j", (c) => {
    expect(infer(c).problems.length).toBeGreaterThan(0);
    expect(new Set(infer(c).problems)).toEqual(new Set(["SHAPE_INVALID"]));
  });
});

describe("quantization and fused operators", () => {
  it.each<[Case, readonly string[]]>([
    [{ op: "QuantizeLinear", inputs: ["f32[b,4]", "f32[]", "i8[]"] }, ["i8[b,4]"]],
    [{ op: "QuantizeLinear", inputs: ["f32[b,4]", "f32[]"] }, ["u8[b,4]"]],
    [{ op: "QuantizeLinear", inputs: ["f32[b,4]", "f32[]"], attrs: { output_dtype: 4 } }, ["u16[b,4]"]],
    [
      { op: "DequantizeLinear", inputs: ["i4[64,4]", "f16[2,4]"], attrs: { axis: 0, block_size: 32 } },
      ["f16[64,4]"],
    ],
    [{ op: "DequantizeLinear", inputs: ["u8[4]", "f32[]", "u8[]"] }, ["f32[4]"]],
    [{ op: "DynamicQuantizeLinear", inputs: ["f32[b,4]"], outputs: 3 }, ["u8[b,4]", "f32[]", "u8[]"]],
    [{ op: "QuantizeLinear", domain: ms, inputs: ["f32[b,4]", "f32[]", "u16[]"] }, ["u16[b,4]"]],
    [
      {
        op: "QLinearAdd",
        domain: ms,
        inputs: ["u8[b,4]", "f32[]", "u8[]", "u8[4]", "f32[]", "u8[]", "f32[]", "u8[]"],
      },
      ["u8[b,4]"],
    ],
    [
      {
        op: "QLinearConcat",
        domain: ms,
        inputs: ["f32[]", "u8[]", "u8[b,4]", "f32[]", "u8[]", "u8[b,6]", "f32[]", "u8[]"],
        attrs: { axis: 1 },
      },
      ["u8[b,10]"],
    ],
    [
      {
        op: "QLinearGlobalAveragePool",
        domain: ms,
        inputs: ["u8[b,4,h,w]", "f32[]", "u8[]", "f32[]", "u8[]"],
      },
      ["u8[b,4,1,1]"],
    ],
    [{ op: "QLinearSigmoid", domain: ms, inputs: ["u8[b]", "f32[]", "u8[]", "f32[]", "u8[]"] }, ["u8[b]"]],
    [
      {
        op: "GroupNorm",
        domain: ms,
        inputs: ["f16[b,h,w,8]", "f32[8]", "f32[8]"],
        attrs: { groups: 4, activation: 1 },
      },
      ["f16[b,h,w,8]"],
    ],
    [
      {
        op: "SkipGroupNorm",
        domain: ms,
        inputs: ["f16[b,h,w,8]", "f32[8]", "f32[8]", "f16[b,8]"],
        outputs: 2,
      },
      ["f16[b,h,w,8]", "f16[b,h,w,8]"],
    ],
    [
      {
        op: "SkipLayerNormalization",
        domain: ms,
        inputs: ["f32[b,s,8]", "f32[b,s,8]", "f32[8]"],
        outputs: 4,
      },
      ["f32[b,s,8]", "f32[b,s,1]", "f32[b,s,1]", "f32[b,s,8]"],
    ],
    [{ op: "BiasSplitGelu", domain: ms, inputs: ["f16[b,s,640]", "f16[640]"] }, ["f16[b,s,320]"]],
    [
      {
        op: "NhwcConv",
        domain: ms,
        inputs: ["f16[b,h,w,4]", "f16[8,3,3,4]"],
        attrs: { kernel_shape: [3, 3], pads: [1, 1, 1, 1] },
      },
      ["f16[b,h,w,8]"],
    ],
    [
      {
        op: "NhwcFusedConv",
        domain: ms,
        inputs: ["f16[b,h,w,4]", "f16[8,4,3,3]"],
        attrs: { strides: [2, 2], pads: [1, 1, 1, 1] },
      },
      ["f16[b,floor((h+1)/2),floor((w+1)/2),8]"],
    ],
    [
      {
        op: "GatherBlockQuantized",
        domain: ms,
        inputs: ["u4[100,64]", "i64[b,7]", "f16[100,2]"],
        attrs: { block_size: 32 },
      },
      ["f16[b,7,64]"],
    ],
  ])("%j", (c, want) => {
    expect(types(c)).toEqual(want);
  });

  it("refuses an output_dtype that the zero point contradicts", () => {
    const c: Case = {
      op: "QuantizeLinear",
      inputs: ["f32[b,4]", "f32[]", "i8[]"],
      attrs: { output_dtype: 2 },
    };
    expect(infer(c).problems).toEqual(["SHAPE_INVALID"]);
  });
});
