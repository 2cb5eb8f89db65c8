import { onnx } from "onnx-proto";
import { describe, expect, test } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { DTYPES } from "../../../src/ir/dtype.ts";
import { floatAttr, type Model } from "../../../src/ir/graph.ts";
import { decodeModel, encodeModel, fileReader } from "../../../src/ir/onnx/index.ts";
import { ATTRIBUTE_TYPES } from "../../../src/ir/onnx/schema.ts";
import { f32Tensor, i64Tensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";

/*
 * The reader and writer against protobuf code generated from onnx.proto (ONNX 1.10), which shares nothing with them.
 */

const { AttributeType } = onnx.AttributeProto;
const { DataType } = onnx.TensorProto;

describe("codes are those of onnx.proto", () => {
  const NAMES: Readonly<Record<keyof typeof ATTRIBUTE_TYPES, keyof typeof AttributeType>> = {
    float: "FLOAT",
    int: "INT",
    string: "STRING",
    tensor: "TENSOR",
    graph: "GRAPH",
    floats: "FLOATS",
    ints: "INTS",
    strings: "STRINGS",
    tensors: "TENSORS",
    graphs: "GRAPHS",
    sparse: "SPARSE_TENSOR",
    sparses: "SPARSE_TENSORS",
    type: "TYPE_PROTO",
    types: "TYPE_PROTOS",
  };
  test("attribute types", () => {
    // TYPE_PROTO is newer than the generated code.
    for (const [kind, name] of Object.entries(NAMES))
      if (name in AttributeType)
        expect(ATTRIBUTE_TYPES[kind as keyof typeof NAMES]).toBe(AttributeType[name]);
    expect(Object.keys(AttributeType).length).toBeGreaterThan(11);
  });

  test("element types", () => {
    const known: Readonly<Record<string, number>> = {
      f32: DataType.FLOAT,
      u8: DataType.UINT8,
      i8: DataType.INT8,
      u16: DataType.UINT16,
      i16: DataType.INT16,
      i32: DataType.INT32,
      i64: DataType.INT64,
      string: DataType.STRING,
      bool: DataType.BOOL,
      f16: DataType.FLOAT16,
      f64: DataType.DOUBLE,
      u32: DataType.UINT32,
      u64: DataType.UINT64,
      c64: DataType.COMPLEX64,
      c128: DataType.COMPLEX128,
      bf16: DataType.BFLOAT16,
    };
    for (const [dtype, code] of Object.entries(known))
      expect(DTYPES[dtype as keyof typeof DTYPES].onnx).toBe(code);
  });
});

function example(): Model {
  const b = new ModelBuilder({ opset: 15, name: "example", domains: { "org.example": 2 } });
  const x = b.input("x", "f32", ["N", 4]);
  const c = b.input("c", "bool", []);
  const w = b.constant(f32Tensor([1, 2, 3, 4], [4]), "w");
  const axes = b.constant(i64Tensor([0]), "axes");
  const h = b.node("Add", [x, w], {}, { name: "add" });
  b.declare(h, tensorType("f32", ["N", 4]));
  const then = b.subgraph("then", (g) => g.output(g.node("Relu", [h]), "t", tensorType("f32", ["N", 4])));
  const other = b.subgraph("else", (g) =>
    g.output(g.node("LeakyRelu", [h], { alpha: floatAttr(1) }), "e", tensorType("f32", ["N", 4])),
  );
  const y = b.node("If", [c], { then_branch: then, else_branch: other });
  b.output(b.node("Custom", [y, null, axes], { k: [1, 2], s: "text" }, { domain: "org.example" }), "z");
  b.func("org.example", "Custom", (f) => {
    const a = f.inputOf("a", null);
    f.output(f.node("Neg", [a]), "b");
  });
  return b.build();
}

test("what is written reads as meant in the generated code", async () => {
  const message = onnx.ModelProto.decode(await encodeModel(example(), fileReader()));
  const plain = onnx.ModelProto.toObject(message, {
    longs: Number,
    enums: String,
    bytes: Array,
    arrays: true,
  });
  expect(plain).toMatchObject({
    irVersion: 8,
    producerName: "diffpress",
    opsetImport: [
      { domain: "", version: 15 },
      { domain: "org.example", version: 2 },
    ],
    graph: {
      name: "example",
      input: [
        {
          name: "x",
          type: { tensorType: { elemType: 1, shape: { dim: [{ dimParam: "N" }, { dimValue: 4 }] } } },
        },
        { name: "c", type: { tensorType: { elemType: 9, shape: { dim: [] } } } },
      ],
      output: [{ name: "z" }],
      valueInfo: [{ name: "add_output" }],
      initializer: [
        { name: "w", dims: [4], dataType: 1 },
        { name: "axes", dims: [1], dataType: 7, rawData: [0, 0, 0, 0, 0, 0, 0, 0] },
      ],
      node: [
        { name: "add", opType: "Add", input: ["x", "w"], output: ["add_output"] },
        {
          opType: "If",
          attribute: [
            {
              name: "then_branch",
              type: "GRAPH",
              g: { name: "then", node: [{ opType: "Relu", input: ["add_output"], output: ["t"] }] },
            },
            {
              name: "else_branch",
              type: "GRAPH",
              g: { node: [{ attribute: [{ name: "alpha", type: "FLOAT", f: 1 }] }] },
            },
          ],
        },
        {
          opType: "Custom",
          domain: "org.example",
          input: ["If_1_output", "", "axes"],
          attribute: [
            { name: "k", type: "INTS", ints: [1, 2] },
            { name: "s", type: "STRING", s: [116, 101, 120, 116] },
          ],
        },
      ],
    },
    functions: [{ name: "Custom", input: ["a"], output: ["b"], node: [{ opType: "Neg" }] }],
  });
});

test("what the generated code writes is read", () => {
  const bytes = onnx.ModelProto.encode({
    irVersion: 7,
    producerName: "generated",
    opsetImport: [{ domain: "", version: 12 }],
    graph: {
      name: "g",
      input: [
        { name: "s", type: { sequenceType: { elemType: { tensorType: { elemType: 1 } } } } },
        {
          name: "m",
          type: { mapType: { keyType: 7, valueType: { tensorType: { elemType: 8, shape: { dim: [] } } } } },
        },
        { name: "o", type: { optionalType: { elemType: { sparseTensorType: { elemType: 11 } } } } },
      ],
      initializer: [
        { name: "w", dims: [2], dataType: 1, floatData: [0.5, -1] },
        { name: "i", dims: [3], dataType: 3, int32Data: [1, -2, 3] },
        { name: "h", dims: [], dataType: 10, int32Data: [0x3c00] },
      ],
      sparseInitializer: [
        {
          values: { name: "sp", dims: [1], dataType: 11, doubleData: [2.5] },
          indices: { dims: [1], dataType: 7, int64Data: [3] },
          dims: [4],
        },
      ],
      node: [
        {
          opType: "Relu",
          input: ["w"],
          output: ["y"],
          name: "n",
          attribute: [{ name: "f", type: AttributeType.FLOATS, floats: [1, 2.5] }],
        },
      ],
      output: [{ name: "y", type: { tensorType: { elemType: 1, shape: { dim: [{ dimValue: 2 }] } } } }],
    },
  }).finish();
  const read = decodeModel(bytes);
  expect([read.irVersion, read.producer.name, read.opsets.get("")]).toEqual([7, "generated", 12]);
  const byName = new Map([...read.graph.values()].map((v) => [v.name, v]));
  expect(byName.get("s")!.type).toEqual({ kind: "sequence", element: tensorType("f32", null) });
  expect(byName.get("m")!.type).toEqual({ kind: "map", key: "i64", value: tensorType("string", []) });
  expect(byName.get("o")!.type).toEqual({
    kind: "optional",
    element: { kind: "sparse", dtype: "f64", shape: null },
  });
  expect(byName.get("w")!.init).toEqual(f32Tensor([0.5, -1]));
  expect(byName.get("i")!.init!.source).toEqual({ kind: "inline", bytes: new Uint8Array([1, 254, 3]) });
  expect(byName.get("h")!.init).toEqual({
    dtype: "f16",
    dims: [],
    source: { kind: "inline", bytes: new Uint8Array([0, 0x3c]) },
  });
  expect(byName.get("sp")!.sparse).toMatchObject({ dims: [4], indices: i64Tensor([3]) });
  const [relu] = read.graph.nodes();
  expect([relu!.name, relu!.attrs.get("f")]).toEqual(["n", { kind: "floats", value: [1, 2.5] }]);
  expect(byName.get("y")!.type).toEqual(tensorType("f32", [2]));
});
