import { describe, expect, it } from "vitest";
import { OPS } from "../../../src/ir/ops/index.ts";
import { i64Tensor, inlineTensor } from "../../../src/ir/tensor.ts";
import type { Dim } from "../../../src/ir/types.ts";
import { type Case, infer, types } from "./rule.ts";

const one = (c: Case): string => types(c)[0]!;
const bool = (...v: number[]) => inlineTensor("bool", [v.length], Uint8Array.from(v));

describe("broadcasting", () => {
  it.each<[string, string, string]>([
    ["f32[2,3,4]", "f32[4]", "f32[2,3,4]"],
    ["f32[2,1,4]", "f32[3,1]", "f32[2,3,4]"],
    ["f32[b,320,h,w]", "f32[1,320,1,1]", "f32[b,320,h,w]"],
    ["f32[b,s]", "f32[2,1]", "f32[2,s]"],
    ["f32[b]", "f32[s]", "f32[max(b,s)]"],
    ["f32[b,4]", "f32[max(b,s),1]", "f32[max(b,s),4]"],
    ["f32[?1.0]", "f32[?2.0]", "f32[?]"],
    ["f32[1,min(77,s),8]", "f32[b,s,8]", "f32[b,s,8]"],
    ["f32[h]", "f32[2*h]", "f32[2*h]"],
    ["f32[]", "f32[h]", "f32[h]"],
    ["f32[...]", "f32[h]", "f32[...]"],
  ])("%s + %s is %s both ways", (a, b, want) => {
    expect(one({ op: "Add", inputs: [a, b] })).toBe(want);
    expect(one({ op: "Add", inputs: [b, a] })).toBe(want);
  });

  it("refuses what does not fit", () => {
    expect(infer({ op: "Mul", inputs: ["f32[2,3]", "f32[2]"] }).problems).toEqual(["SHAPE_INVALID"]);
    expect(infer({ op: "Mul", inputs: ["f32[2]", "f16[2]"] }).problems).toEqual(["SHAPE_INVALID"]);
  });

  it("stretches only the second input before opset 7", () => {
    expect(
      one({ op: "Add", opset: 6, inputs: ["f32[2,3,4]", "f32[3]"], attrs: { broadcast: 1, axis: 1 } }),
    ).toBe("f32[2,3,4]");
  });

  it("joins any number of inputs", () => {
    expect(one({ op: "Max", inputs: ["f32[2,1]", "f32[3]", "f32[1,1,1]"] })).toBe("f32[1,2,3]");
    expect(one({ op: "Sum", inputs: ["f32[b]"] })).toBe("f32[b]");
  });
});

describe("result types", () => {
  it.each<[Case, string]>([
    [{ op: "Equal", inputs: ["f32[b]", "f32[b]"] }, "bool[b]"],
    [{ op: "Less", inputs: ["i64[3]", "i64[1]"] }, "bool[3]"],
    [{ op: "And", inputs: ["bool[3]", "bool[2,1]"] }, "bool[2,3]"],
    [{ op: "IsNaN", inputs: ["f16[h]"] }, "bool[h]"],
    [{ op: "Pow", inputs: ["f32[h]", "i64[]"] }, "f32[h]"],
    [{ op: "Where", inputs: ["bool[h,1]", "f16[4]", "f16[]"] }, "f16[h,4]"],
    [{ op: "Cast", inputs: ["f32[h]"], attrs: { to: 10 } }, "f16[h]"],
    [{ op: "Cast", inputs: ["f32[h]"], attrs: { to: 22 } }, "i4[h]"],
    [{ op: "Cast", opset: 5, inputs: ["f32[h]"], attrs: { to: "INT64" } }, "i64[h]"],
    [{ op: "CastLike", inputs: ["f32[h]", "bf16[]"] }, "bf16[h]"],
    [{ op: "BitCast", opset: 26, inputs: ["f32[h]"], attrs: { to: 6 } }, "i32[h]"],
    [{ op: "Clip", inputs: ["f16[h]", "f16[]", null] }, "f16[h]"],
    [{ op: "PRelu", inputs: ["f32[2,3,4]", "f32[3,1]"] }, "f32[2,3,4]"],
    [{ op: "Softmax", inputs: ["f32[b,8,s]"], attrs: { axis: -1 } }, "f32[b,8,s]"],
    [{ op: "Softmax", opset: 11, inputs: ["f32[b,8]"], attrs: { axis: 2 } }, "f32[b,8]"],
    [{ op: "Gelu", inputs: ["f32[b]"], attrs: { approximate: "tanh" } }, "f32[b]"],
    [{ op: "Swish", opset: 24, inputs: ["f32[b]"] }, "f32[b]"],
  ])("%j", (c, want) => {
    expect(one(c)).toBe(want);
  });

  it.each<Case>([
    { op: "Cast", inputs: ["f32[h]"], attrs: { to: 99 } },
    { op: "Cast", inputs: ["f32[h]"], attrs: { to: [1] } },
    { op: "BitCast", opset: 26, inputs: ["f32[h]"], attrs: { to: 7 } },
    { op: "Where", inputs: ["i64[2]", "f32[2]", "f32[2]"] },
    { op: "Softmax", inputs: ["f32[2]"], attrs: { axis: 1 } },
  ])("refuses %j", (c) => {
    expect(infer(c).problems).toEqual(["SHAPE_INVALID"]);
  });
});

describe("followed values", () => {
  const f32 = (...v: number[]) => ({ f32: v });
  it.each<[Case, readonly Dim[]]>([
    [{ op: "Add", inputs: [[1, 2], [10]] }, [11, 12]],
    [{ op: "Sub", inputs: [[5], [7]] }, [-2]],
    [{ op: "Mul", inputs: [i64Tensor([1, 2], [2, 1]), [3, 4]] }, [3, 4, 6, 8]],
    [{ op: "Div", inputs: [[7, -7], [2]] }, [3, -3]],
    [{ op: "Mod", inputs: [[7, -7], [3]] }, [1, 2]],
    [{ op: "Min", inputs: [[7, 1], [3], [5]] }, [3, 1]],
    [{ op: "Neg", inputs: [[7]] }, [-7]],
    [{ op: "Equal", inputs: [[7, -1], [-1]] }, [0, 1]],
    [{ op: "Where", inputs: [bool(1, 0), [1, 2], [8, 9]] }, [1, 9]],
    [{ op: "Not", inputs: [bool(1, 0)] }, [0, 1]],
    [{ op: "Cast", inputs: [f32(2.75, -2.75)], attrs: { to: 7 } }, [2, -2]],
    [{ op: "Cast", inputs: [[0, 3]], attrs: { to: 9 } }, [0, 1]],
    [{ op: "Floor", inputs: [f32(2.75, -2.25)] }, [2, -3]],
    [{ op: "Ceil", inputs: [f32(2.25)] }, [3]],
    [{ op: "Round", inputs: [f32(0.5, 1.5, 2.5)] }, [0, 2, 2]],
    [{ op: "Pow", inputs: [[3], [4]] }, [81]],
    [{ op: "Clip", inputs: [[1, 9], i64Tensor([2], []), i64Tensor([5], [])] }, [2, 5]],
  ])("%j", (c, want) => {
    expect(infer(c).data).toEqual(want);
  });

  it("rounds to float32 as the runtime does", () => {
    expect(infer({ op: "Mul", inputs: [{ f32: [0.1] }, { f32: [3] }] }).data).toEqual([
      Math.fround(Math.fround(0.1) * 3),
    ]);
  });
  it("stops at values that overflow", () => {
    const big = i64Tensor([2n ** 62n]);
    expect(String(infer({ op: "Mul", inputs: [big, [4]] }).data)).toMatch(/^\?/);
  });
});

it("every operator is registered once, with rising versions and sensible arity", () => {
  const seen = new Set<string>();
  for (const s of OPS) {
    const key = `${s.domain}:${s.op}`;
    expect(seen.has(key), key).toBe(false);
    seen.add(key);
    expect(s.versions.length, key).toBeGreaterThan(0);
    expect([...s.versions], key).toEqual([...new Set(s.versions)].sort((a, b) => a - b));
    expect(s.inputs.min, key).toBeLessThanOrEqual(s.inputs.max);
    expect(s.outputs.min, key).toBeLessThanOrEqual(s.outputs.max);
  }
  expect(OPS.length).toBeGreaterThan(240);
});
