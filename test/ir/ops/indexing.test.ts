import { describe, expect, it } from "vitest";
import { i64Tensor } from "../../../src/ir/tensor.ts";
import { type Case, infer, types } from "./rule.ts";

describe("index operators", () => {
  it.each<[Case, readonly string[]]>([
    [{ op: "Gather", inputs: ["f32[49408,768]", "i64[b,77]"] }, ["f32[b,77,768]"]],
    [{ op: "Gather", inputs: ["f32[b,s,8]", "i64[]"], attrs: { axis: 1 } }, ["f32[b,8]"]],
    [{ op: "GatherElements", inputs: ["f32[3,4]", "i64[2,4]"] }, ["f32[2,4]"]],
    [{ op: "GatherND", inputs: ["f32[2,3,4]", "i64[5,2]"] }, ["f32[5,4]"]],
    [{ op: "GatherND", inputs: ["f32[2,3,4]", "i64[2,1]"], attrs: { batch_dims: 1 } }, ["f32[2,4]"]],
    [{ op: "ScatterND", inputs: ["f32[b,4]", "i64[1,1]", "f32[1,4]"] }, ["f32[b,4]"]],
    [{ op: "ScatterElements", inputs: ["f32[b,4]", "i64[1,1]", "f32[1,1]"] }, ["f32[b,4]"]],
    [{ op: "Scatter", opset: 9, inputs: ["f32[b,4]", "i64[1,1]", "f32[1,1]"] }, ["f32[b,4]"]],
    [{ op: "TensorScatter", opset: 24, inputs: ["f32[b,4]", "f32[b,1]"] }, ["f32[b,4]"]],
    [{ op: "OneHot", inputs: ["i64[b,3]", [10], "f32[2]"] }, ["f32[b,3,10]"]],
    [{ op: "OneHot", inputs: ["i64[b,3]", [10], "f32[2]"], attrs: { axis: 0 } }, ["f32[10,b,3]"]],
    [{ op: "NonZero", inputs: ["f32[2,3]"] }, ["i64[2,?]"]],
    [{ op: "NonZero", inputs: ["f32[]"] }, ["i64[1,?]"]],
    [{ op: "TopK", inputs: ["f32[b,9]", [4]], outputs: 2 }, ["f32[b,4]", "i64[b,4]"]],
    [
      { op: "TopK", opset: 9, inputs: ["f32[9,b]"], attrs: { k: 2, axis: 0 }, outputs: 2 },
      ["f32[2,b]", "i64[2,b]"],
    ],
    [{ op: "Unique", inputs: ["f32[2,3]"], outputs: 4 }, ["f32[?]", "i64[?]", "i64[6]", "i64[?]"]],
    [
      { op: "Unique", inputs: ["f32[2,3]"], attrs: { axis: 1 }, outputs: 3 },
      ["f32[2,?]", "i64[?]", "i64[3]"],
    ],
    [{ op: "Compress", inputs: ["f32[2,3]", "bool[3]"], attrs: { axis: 1 } }, ["f32[2,?]"]],
    [{ op: "Compress", inputs: ["f32[2,3]", "bool[3]"] }, ["f32[?]"]],
    [{ op: "EyeLike", inputs: ["i32[3,h]"], attrs: { dtype: 1 } }, ["f32[3,h]"]],
    [{ op: "Trilu", inputs: ["f32[3,h]", null] }, ["f32[3,h]"]],
    [{ op: "ConstantOfShape", inputs: [[2, 3]], attrs: { value: i64Tensor([1]) } }, ["i64[2,3]"]],
    [{ op: "ConstantOfShape", inputs: ["i64[2]"] }, ["f32[?,?]"]],
    [{ op: "Range", inputs: [i64Tensor([2], []), i64Tensor([11], []), i64Tensor([3], [])] }, ["i64[3]"]],
    [{ op: "Range", inputs: ["i64[]", "i64[]", "i64[]"] }, ["i64[?]"]],
    [{ op: "Constant", inputs: [], attrs: { value_floats: [0.5, 1.5] } }, ["f32[2]"]],
    [{ op: "Constant", inputs: [], attrs: { value_string: "x" } }, ["string[]"]],
  ])("%j", (c, want) => {
    expect(types(c)).toEqual(want);
  });

  it.each<Case>([
    { op: "Gather", inputs: ["f32[3]", "i64[2]"], attrs: { axis: 1 } },
    { op: "Gather", inputs: [[1, 2, 3], [3]] },
    { op: "GatherElements", inputs: ["f32[3,4]", "i64[2]"] },
    { op: "GatherND", inputs: ["f32[2]", "i64[5,2]"] },
    { op: "TopK", inputs: ["f32[b,9]", [-4]], outputs: 2 },
    { op: "ConstantOfShape", inputs: [[2, -3]] },
    { op: "EyeLike", inputs: ["f32[3]"] },
    { op: "Constant", inputs: [] },
  ])("refuses %j", (c) => {
    expect(infer(c).problems).toEqual(["SHAPE_INVALID"]);
  });

  it("follows values", () => {
    expect(
      infer({
        op: "Gather",
        inputs: [
          [5, 6, 7],
          [-1, 0],
        ],
      }).data,
    ).toEqual([7, 5]);
    expect(infer({ op: "ConstantOfShape", inputs: [[2]], attrs: { value: i64Tensor([9]) } }).data).toEqual([
      9, 9,
    ]);
    const range = { op: "Range", inputs: [i64Tensor([5], []), i64Tensor([0], []), i64Tensor([-2], [])] };
    expect(infer(range).data).toEqual([5, 3, 1]);
    expect(infer({ op: "Constant", inputs: [], attrs: { value_ints: [3, 4] } }).data).toEqual([3, 4]);
  });
});

describe("resolution and channels", () => {
  it.each<[Case, string]>([
    [{ op: "DepthToSpace", inputs: ["f32[b,12,h,w]"], attrs: { blocksize: 2 } }, "f32[b,3,2*h,2*w]"],
    [{ op: "SpaceToDepth", inputs: ["f32[b,3,8,2*w]"], attrs: { blocksize: 2 } }, "f32[b,12,4,w]"],
    [{ op: "Resize", inputs: ["f32[b,4,h,w]", null, { f32: [1, 1, 2, 2] }] }, "f32[b,4,2*h,2*w]"],
    [{ op: "Resize", inputs: ["f32[1,1,5,7]", null, { f32: [1, 1, 0.6, 0.6] }] }, "f32[1,1,3,4]"],
    [{ op: "Resize", inputs: ["f32[1,1,h,7]", null, { f32: [1, 1, 0.5, 0.5] }] }, "f32[1,1,floor(h/2),3]"],
    [{ op: "Resize", inputs: ["f32[b,4,h,w]", null, null, [1, 4, 9, 9]] }, "f32[1,4,9,9]"],
    [{ op: "Resize", inputs: ["f32[b,4,h,w]", null, null, [9, 7]], attrs: { axes: [2, 3] } }, "f32[b,4,9,7]"],
    [
      {
        op: "Resize",
        inputs: ["f32[1,1,4,8]", null, null, [6, 6]],
        attrs: { axes: [2, 3], keep_aspect_ratio_policy: "not_larger" },
      },
      "f32[1,1,3,6]",
    ],
    [{ op: "Resize", opset: 10, inputs: ["f32[1,1,2,h]", { f32: [1, 1, 3, 2] }] }, "f32[1,1,6,2*h]"],
    [{ op: "Upsample", opset: 9, inputs: ["f32[1,1,2,h]", { f32: [1, 1, 3, 2] }] }, "f32[1,1,6,2*h]"],
    [
      { op: "Upsample", opset: 7, inputs: ["f32[1,1,2,2]"], attrs: { scales: [1.5, 1, 3, 2] } },
      "f32[1,1,6,4]",
    ],
    [{ op: "CenterCropPad", inputs: ["f32[h,8,3]", [10, 6]], attrs: { axes: [0, 1] } }, "f32[10,6,3]"],
    [{ op: "ReverseSequence", inputs: ["f32[t,b]", "i64[b]"] }, "f32[t,b]"],
  ])("%j", (c, want) => {
    expect(types(c)).toEqual([want]);
  });

  it.each<Case>([
    { op: "DepthToSpace", inputs: ["f32[1,6,2,2]"], attrs: { blocksize: 2 } },
    { op: "SpaceToDepth", inputs: ["f32[1,6,3,2]"], attrs: { blocksize: 2 } },
    { op: "Resize", inputs: ["f32[1,1,2,2]", null, { f32: [1, 2] }] },
    { op: "CenterCropPad", inputs: ["f32[4,4]", [10]] },
  ])("refuses %j", (c) => {
    expect(infer(c).problems).toEqual(["SHAPE_INVALID"]);
  });
});
