import { expect, test } from "vitest";
import { compareModels } from "../../../scripts/conformance/wire.ts";
import { type AttrInput, irVersionOf, ModelBuilder } from "../../../src/ir/build.ts";
import type { DType } from "../../../src/ir/dtype.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { decodeModel, encodeModel, fileReader } from "../../../src/ir/onnx/index.ts";
import { inlineTensor } from "../../../src/ir/tensor.ts";
import type { Dim } from "../../../src/ir/types.ts";
import { verifyModel } from "../../../src/ir/verify.ts";

type Value = readonly [DType, readonly Dim[]];

/** For each opset, operators it introduced or gave new types: inputs, attributes, and what comes out. */
const CASES: readonly (readonly [
  opset: number,
  op: string,
  inputs: readonly Value[],
  attrs: Readonly<Record<string, AttrInput>>,
  output: Value,
])[] = [
  [
    7,
    "Add",
    [
      ["f32", ["N", 3]],
      ["f32", [3]],
    ],
    {},
    ["f32", ["N", 3]],
  ],
  [
    8,
    "Sum",
    [
      ["f32", [2]],
      ["f32", [1]],
    ],
    {},
    ["f32", [2]],
  ],
  [
    9,
    "Where",
    [
      ["bool", [2]],
      ["f32", [2]],
      ["f32", [2]],
    ],
    {},
    ["f32", [2]],
  ],
  [
    10,
    "Mod",
    [
      ["i32", [2]],
      ["i32", [2]],
    ],
    {},
    ["i32", [2]],
  ],
  [11, "Round", [["f32", ["N"]]], {}, ["f32", ["N"]]],
  [
    12,
    "Einsum",
    [
      ["f32", [2, 3]],
      ["f32", [3, 4]],
    ],
    { equation: "ij,jk->ik" },
    ["f32", [2, 4]],
  ],
  [13, "Cast", [["f32", ["N"]]], { to: 16 }, ["bf16", ["N"]]],
  [14, "HardSwish", [["f32", [2]]], {}, ["f32", [2]]],
  [15, "Shape", [["f32", [2, 3, 4]]], { start: 1 }, ["i64", [2]]],
  [
    16,
    "PRelu",
    [
      ["f32", [2]],
      ["f32", [2]],
    ],
    {},
    ["f32", [2]],
  ],
  [
    17,
    "LayerNormalization",
    [
      ["f32", ["N", 8]],
      ["f32", [8]],
    ],
    {},
    ["f32", ["N", 8]],
  ],
  [
    18,
    "BitwiseAnd",
    [
      ["i32", ["N"]],
      ["i32", ["N"]],
    ],
    {},
    ["i32", ["N"]],
  ],
  [18, "Mish", [["f32", ["N"]]], {}, ["f32", ["N"]]],
  [19, "Cast", [["f32", ["N"]]], { to: 17, saturate: 0 }, ["f8e4m3fn", ["N"]]],
  [19, "Cast", [["f32", ["N"]]], { to: 20 }, ["f8e5m2fnuz", ["N"]]],
  [20, "Gelu", [["f32", ["N", 4]]], { approximate: "tanh" }, ["f32", ["N", 4]]],
  [20, "IsInf", [["f32", [3]]], {}, ["bool", [3]]],
  [21, "Cast", [["f32", [7]]], { to: 22 }, ["i4", [7]]],
  [
    21,
    "GroupNormalization",
    [
      ["f32", ["N", 8, "H"]],
      ["f32", [8]],
      ["f32", [8]],
    ],
    { num_groups: 2 },
    ["f32", ["N", 8, "H"]],
  ],
  [22, "Relu", [["bf16", ["N"]]], {}, ["bf16", ["N"]]],
  [
    23,
    "RMSNormalization",
    [
      ["f32", ["N", 8]],
      ["f32", [8]],
    ],
    {},
    ["f32", ["N", 8]],
  ],
  [23, "Cast", [["f32", [6]]], { to: 23 }, ["f4e2m1", [6]]],
  [24, "Cast", [["f32", [6]]], { to: 24 }, ["f8e8m0", [6]]],
  [25, "Cast", [["f32", [6]]], { to: 25 }, ["u2", [6]]],
  [25, "Cast", [["f32", [6]]], { to: 26 }, ["i2", [6]]],
  [26, "Identity", [["i2", ["N"]]], {}, ["i2", ["N"]]],
];

test.each(CASES)("opset %i %s", async (opset, op, inputs, attrs, [dtype, shape]) => {
  const b = new ModelBuilder({ opset });
  const ids = inputs.map(([d, s], i) => b.input(`x${i}`, d, s));
  b.output(b.node(op, ids, attrs), "y", { kind: "tensor", dtype, shape });
  const bytes = await encodeModel(b.build(), fileReader());
  const read = decodeModel(bytes);
  expect(read.opsets.get("")).toBe(opset);
  expect(read.irVersion).toBe(irVersionOf(opset));
  expect(compareModels(bytes, await encodeModel(read, fileReader()))).toEqual([]);
  expect(verifyModel(read)).toEqual([]);
  const shapes = inferShapes(read);
  expect(shapes.diagnostics).toEqual([]);
  expect(shapes.type(read.graph.outputs[0]!)).toEqual({ kind: "tensor", dtype, shape });
});

test.each([
  ["i4", 21, 33],
  ["u4", 21, 64],
  ["f4e2m1", 23, 31],
  ["u2", 25, 129],
  ["i2", 25, 130],
  ["f8e4m3fn", 19, 5],
  ["f8e8m0", 24, 5],
] as const)("%s weights keep their packed bytes", async (dtype, opset, count) => {
  const bits = dtype.startsWith("f8") ? 8 : dtype.endsWith("2") ? 2 : 4;
  const bytes = Uint8Array.from({ length: Math.ceil((count * bits) / 8) }, (_, i) => (i * 73 + 11) & 0xff);
  const b = new ModelBuilder({ opset });
  const w = b.constant(inlineTensor(dtype, [count], bytes), "w");
  b.output(b.node("Identity", [w]), "y");
  const read = decodeModel(await encodeModel(b.build(), fileReader()));
  const [node] = read.graph.nodes();
  expect(read.graph.constant(node!.inputs[0])).toEqual({
    dtype,
    dims: [count],
    source: { kind: "inline", bytes },
  });
});
