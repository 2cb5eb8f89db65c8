import { describe, expect, it } from "vitest";
import { type Case, infer, types } from "./rule.ts";

const one = (c: Case): string => types(c)[0]!;

describe("reductions", () => {
  it.each([
    [13, { axes: [1] }, [], "f32[2,1,h]"],
    [13, { axes: [-1], keepdims: 0 }, [], "f32[2,3]"],
    [13, {}, [], "f32[1,1,1]"],
    [13, { keepdims: 0 }, [], "f32[]"],
    [18, { keepdims: 0 }, [[0, 2]], "f32[3]"],
    [18, {}, [[-2]], "f32[2,1,h]"],
    [18, { noop_with_empty_axes: 1 }, [], "f32[2,3,h]"],
    // The attribute means nothing where the axes are an input.
    [18, { axes: [1], keepdims: 0 }, [], "f32[]"],
  ] as const)("of opset %i with %j and axes %j give %s", (opset, attrs, axes, want) => {
    expect(one({ op: "ReduceMean", opset, inputs: ["f32[2,3,h]", ...axes], attrs })).toBe(want);
  });

  it("take the sum's axes as an input since opset 13", () => {
    expect(one({ op: "ReduceSum", opset: 13, inputs: ["f32[2,3]", [1]] })).toBe("f32[2,1]");
    expect(one({ op: "ReduceSum", opset: 11, inputs: ["f32[2,3]"], attrs: { axes: [1] } })).toBe("f32[2,1]");
  });

  it("keep what is known when the axes are computed", () => {
    expect(one({ op: "ReduceMax", opset: 18, inputs: ["f32[2,3]", "i64[1]"] })).toBe("f32[?,?]");
    expect(one({ op: "ReduceMax", opset: 18, inputs: ["f32[2,3]", "i64[1]"], attrs: { keepdims: 0 } })).toBe(
      "f32[?]",
    );
    expect(one({ op: "ReduceMax", opset: 18, inputs: ["f32[2,3]", "i64[n]"], attrs: { keepdims: 0 } })).toBe(
      "f32[...]",
    );
  });

  it("refuse axes out of range", () => {
    expect(infer({ op: "ReduceMin", opset: 18, inputs: ["f32[2]", [1]] }).problems).toEqual([
      "SHAPE_INVALID",
    ]);
    expect(infer({ op: "ArgMax", inputs: ["f32[2]"], attrs: { axis: -2 } }).problems).toEqual([
      "SHAPE_INVALID",
    ]);
  });

  it("follow lengths through products and sums", () => {
    expect(
      infer({ op: "ReduceProd", opset: 18, inputs: [[2, 3, 4], [0]], attrs: { keepdims: 0 } }).data,
    ).toEqual([24]);
    expect(infer({ op: "ReduceSum", inputs: [[2, 3, 4], [0]] }).data).toEqual([9]);
    expect(infer({ op: "ReduceMax", opset: 18, inputs: [[2, 7, 4]] }).data).toEqual([7]);
    expect(infer({ op: "ReduceMean", opset: 18, inputs: [[2, 4]] }).data).toBeNull();
  });

  it("that find positions give int64 of the reduced shape", () => {
    expect(one({ op: "ArgMax", inputs: ["f16[b,5,h]"], attrs: { axis: 1, keepdims: 0 } })).toBe("i64[b,h]");
    expect(one({ op: "ArgMin", inputs: ["f16[b,5]"] })).toBe("i64[1,5]");
    expect(one({ op: "ArgMin", inputs: ["f16[...]"] })).toBe("i64[...]");
  });

  it("that run along an axis keep the type", () => {
    expect(one({ op: "CumSum", inputs: ["f64[b,5]", "i64[]"] })).toBe("f64[b,5]");
  });
});
