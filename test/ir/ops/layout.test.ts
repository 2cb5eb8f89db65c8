import { describe, expect, it } from "vitest";
import { i64Tensor } from "../../../src/ir/tensor.ts";
import { type Case, infer, types } from "./rule.ts";

const one = (c: Case): string => types(c)[0]!;

describe("Reshape", () => {
  it.each<[string, readonly number[], Record<string, number>, string]>([
    ["f32[2,3,4]", [4, 6], {}, "f32[4,6]"],
    ["f32[2,3,4]", [-1, 4], {}, "f32[6,4]"],
    ["f32[2,3,4]", [0, -1], {}, "f32[2,12]"],
    ["f32[b,320,h,w]", [0, 32, -1], {}, "f32[b,32,10*h*w]"],
    ["f32[b,h*w,640]", [0, -1, 8, 80], {}, "f32[b,h*w,8,80]"],
    ["f32[2*b,8,s,40]", [-1, 8, 5, 8], {}, "f32[2*b*s,8,5,8]"],
    ["f32[0,4]", [0, 4, 0], { allowzero: 1 }, "f32[0,4,0]"],
    ["f32[...]", [2, -1], {}, "f32[2,?]"],
  ])("%s to %j is %s", (input, target, attrs, want) => {
    expect(one({ op: "Reshape", inputs: [input, target], attrs })).toBe(want);
  });
  it("takes the shape from an attribute before opset 5", () => {
    expect(one({ op: "Reshape", opset: 4, inputs: ["f32[2,6]"], attrs: { shape: [3, -1] } })).toBe(
      "f32[3,4]",
    );
  });
  it("knows the rank when the target is computed", () => {
    expect(one({ op: "Reshape", inputs: ["f32[2,6]", "i64[3]"] })).toBe("f32[?,?,?]");
    expect(one({ op: "Reshape", inputs: ["f32[2,6]", "i64[n]"] })).toBe("f32[...]");
  });
  it.each([[[5, -1]], [[7, 2]], [[-1, -1]], [[0, 0, 0, 12]], [[-2, 6]]])(
    "refuses %j for 12 elements",
    (target) => {
      const out = infer({ op: "Reshape", inputs: ["f32[2,6]", target] });
      expect(out.problems).toEqual(["SHAPE_INVALID"]);
      expect(out.types).toEqual(["?"]);
    },
  );
});

describe("layout operators", () => {
  it.each<[Case, string]>([
    [{ op: "Transpose", inputs: ["f32[b,77,8,40]"], attrs: { perm: [0, 2, 1, 3] } }, "f32[b,8,77,40]"],
    [{ op: "Transpose", inputs: ["f32[2,3,4]"] }, "f32[4,3,2]"],
    [{ op: "Flatten", inputs: ["f32[b,4,h]"] }, "f32[b,4*h]"],
    [{ op: "Flatten", inputs: ["f32[2,4,3]"], attrs: { axis: -1 } }, "f32[8,3]"],
    [{ op: "Flatten", inputs: ["f32[2,4,3]"], attrs: { axis: 0 } }, "f32[1,24]"],
    [{ op: "Squeeze", opset: 11, inputs: ["f32[1,3,1,h]"], attrs: { axes: [0, 2] } }, "f32[3,h]"],
    [{ op: "Squeeze", inputs: ["f32[1,3,1,h]", [-2]] }, "f32[1,3,h]"],
    [{ op: "Squeeze", inputs: ["f32[1,3,1]"] }, "f32[3]"],
    [{ op: "Squeeze", inputs: ["f32[1,h]"] }, "f32[...]"],
    [{ op: "Squeeze", inputs: ["f32[1,3,1]", "i64[2]"] }, "f32[?]"],
    [{ op: "Unsqueeze", opset: 11, inputs: ["f32[3,h]"], attrs: { axes: [0, 3] } }, "f32[1,3,h,1]"],
    [{ op: "Unsqueeze", inputs: ["f32[3,h]", [-1]] }, "f32[3,h,1]"],
    [{ op: "Expand", inputs: ["f32[1,s]", [2, 1]] }, "f32[2,s]"],
    [{ op: "Expand", inputs: ["f32[3,1]", "i64[3]"] }, "f32[?,3,?]"],
    [{ op: "Expand", inputs: ["f32[h,1]", [4, 1, 1]] }, "f32[4,h,1]"],
    [{ op: "Tile", inputs: ["f32[b,4]", [3, 2]] }, "f32[3*b,8]"],
    [{ op: "Shape", inputs: ["f32[b,4]"] }, "i64[2]"],
    [{ op: "Size", inputs: ["f32[b,4]"] }, "i64[]"],
    [{ op: "Identity", inputs: ["f16[b,4]"] }, "f16[b,4]"],
  ])("%j", (c, want) => {
    expect(one(c)).toBe(want);
  });

  it.each<Case>([
    { op: "Transpose", inputs: ["f32[2,3]"], attrs: { perm: [0, 0] } },
    { op: "Transpose", inputs: ["f32[2,3]"], attrs: { perm: [0, 1, 2] } },
    { op: "Squeeze", inputs: ["f32[2,3]", [0]] },
    { op: "Unsqueeze", inputs: ["f32[2,3]", [4]] },
    { op: "Expand", inputs: ["f32[2,3]", [4, 3]] },
    { op: "Expand", inputs: ["f32[2,1]", [2, -1]] },
    { op: "Tile", inputs: ["f32[2,3]", [4]] },
    { op: "Flatten", inputs: ["f32[2,3]"], attrs: { axis: 3 } },
  ])("refuses %j", (c) => {
    expect(infer(c).problems).toEqual(["SHAPE_INVALID"]);
  });

  it("follows values through layout changes", () => {
    const matrix = i64Tensor([1, 2, 3, 4, 5, 6], [2, 3]);
    expect(infer({ op: "Shape", inputs: ["f32[b,4,h]"] }).data).toEqual(["b", 4, "h"]);
    expect(infer({ op: "Shape", inputs: ["f32[b,4,h]"], attrs: { start: 1, end: -1 } }).data).toEqual([4]);
    expect(infer({ op: "Size", inputs: ["f32[b,4,h]"] }).data).toEqual(["4*b*h"]);
    expect(infer({ op: "Transpose", inputs: [matrix] }).data).toEqual([1, 4, 2, 5, 3, 6]);
    expect(infer({ op: "Reshape", inputs: [matrix, [3, 2]] }).data).toEqual([1, 2, 3, 4, 5, 6]);
    expect(
      infer({
        op: "Expand",
        inputs: [
          [7, 8],
          [2, 2],
        ],
      }).data,
    ).toEqual([7, 8, 7, 8]);
    expect(infer({ op: "Tile", inputs: [[7, 8], [2]] }).data).toEqual([7, 8, 7, 8]);
  });
});

describe("slicing operators", () => {
  it.each<[Case, readonly string[]]>([
    [{ op: "Concat", inputs: ["f32[b,4,h]", "f32[b,8,h]"], attrs: { axis: 1 } }, ["f32[b,12,h]"]],
    [{ op: "Concat", inputs: ["f32[b,c]", "f32[2,d]"], attrs: { axis: -1 } }, ["f32[2,c+d]"]],
    [
      { op: "Split", inputs: ["f32[2,6]"], attrs: { axis: 1, num_outputs: 2 }, outputs: 2 },
      ["f32[2,3]", "f32[2,3]"],
    ],
    [
      { op: "Split", inputs: ["f32[7]"], attrs: { num_outputs: 3 }, outputs: 3 },
      ["f32[3]", "f32[3]", "f32[1]"],
    ],
    [{ op: "Split", inputs: ["f32[7]", [5, 2]], outputs: 2 }, ["f32[5]", "f32[2]"]],
    [
      { op: "Split", opset: 11, inputs: ["f32[b,6]"], attrs: { axis: 1, split: [2, 4] }, outputs: 2 },
      ["f32[b,2]", "f32[b,4]"],
    ],
    [{ op: "Split", opset: 13, inputs: ["f32[2*h]"], outputs: 2 }, ["f32[h]", "f32[h]"]],
    [
      {
        op: "Slice",
        opset: 9,
        inputs: ["f32[20,10,5]"],
        attrs: { starts: [0, 0], ends: [3, 10], axes: [0, 1] },
      },
      ["f32[3,10,5]"],
    ],
    [{ op: "Slice", inputs: ["f32[20,10,5]", [1], [1000], [1]] }, ["f32[20,9,5]"]],
    [{ op: "Slice", inputs: ["f32[20,10,5]", [0, 0, 3], [20, 10, 4]] }, ["f32[20,10,1]"]],
    [
      { op: "Slice", inputs: ["f32[20,10,5]", [20, 10, 4], [0, 0, 1], [0, 1, 2], [-1, -3, -2]] },
      ["f32[19,3,2]"],
    ],
    [{ op: "Slice", inputs: ["f32[b,h]", [0], [-1], [1]] }, ["f32[b,h-1]"]],
    [{ op: "Slice", inputs: ["f32[b,h]", [1], [2 ** 40], [1], [2]] }, ["f32[b,floor(h/2)]"]],
    [{ op: "Slice", inputs: ["f32[b,h]", [-1], [-(2 ** 40)], [1], [-1]] }, ["f32[b,h]"]],
    [{ op: "Slice", inputs: ["f32[1,77]", "i64[1]", "i64[1]", [1]] }, ["f32[1,?]"]],
    [
      { op: "Pad", opset: 9, inputs: ["f32[1,3,4,5]"], attrs: { pads: [0, 0, 1, 1, 0, 0, 1, 2] } },
      ["f32[1,3,6,8]"],
    ],
    [{ op: "Pad", inputs: ["f32[1,3,h,5]", [1, 0, 1, 0], null, [2, 3]] }, ["f32[1,3,h+2,5]"]],
  ])("%j", (c, want) => {
    expect(types(c)).toEqual(want);
  });

  it.each<Case>([
    { op: "Concat", inputs: ["f32[2,4]", "f32[3,4]"], attrs: { axis: 1 } },
    { op: "Concat", inputs: ["f32[2,4]", "i64[2,4]"], attrs: { axis: 1 } },
    { op: "Concat", inputs: ["f32[2,4]", "f32[2]"], attrs: { axis: 0 } },
    { op: "Split", inputs: ["f32[7]", [5, 3]], outputs: 2 },
    { op: "Slice", inputs: ["f32[7]", [0], [1], [0], [0]] },
    { op: "Slice", inputs: ["f32[7]", [0], [1], [3]] },
    { op: "Pad", inputs: ["f32[7]", [0, 0, 1]] },
    { op: "Pad", inputs: ["f32[2]", [-2, -1]] },
  ])("refuses %j", (c) => {
    expect(infer(c).problems).toEqual(["SHAPE_INVALID"]);
  });

  it("follows values", () => {
    const matrix = i64Tensor([1, 2, 3, 4, 5, 6], [3, 2]);
    expect(infer({ op: "Slice", inputs: [matrix, [-1], [-(2 ** 40)], [0], [-1]] }).data).toEqual([
      5, 6, 3, 4, 1, 2,
    ]);
    expect(infer({ op: "Concat", inputs: [[1], [2, 3]], attrs: { axis: 0 } }).data).toEqual([1, 2, 3]);
    const split = infer({
      op: "Split",
      inputs: [
        [1, 2, 3],
        [1, 2],
      ],
      outputs: 2,
    });
    expect(split.result.data(split.ids[1]!)).toEqual([2, 3]);
  });
});
