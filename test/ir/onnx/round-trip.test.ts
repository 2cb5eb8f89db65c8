import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { compareModels } from "../../../scripts/conformance/wire.ts";
import { DTYPES, type DType } from "../../../src/ir/dtype.ts";
import { decodeModel, encodeModel, fileReader, readModel, writeModel } from "../../../src/ir/onnx/index.ts";
import {
  double,
  entry,
  type Field,
  float,
  floats,
  graph,
  info,
  int,
  model,
  msg,
  node,
  packed,
  rawTensor,
  reluModel,
  sub,
  tensorTypeProto,
  unknown,
} from "./proto.ts";

const folder = mkdtempSync(join(tmpdir(), "diffpress-round-trip-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Differences after decode -> encode and after read -> write to files; both must be none. */
async function roundTrip(bytes: Uint8Array): Promise<string[]> {
  const reader = fileReader();
  const inMemory = await encodeModel(decodeModel(bytes), reader);
  const before = join(folder, "before.onnx");
  const after = join(folder, "after.onnx");
  writeFileSync(before, bytes);
  await writeModel(await readModel(before), after, {
    reader,
    external: false,
  });
  return [...compareModels(bytes, inMemory), ...compareModels(bytes, readFileSync(after), { before, after })];
}

const type = tensorTypeProto(1, [2]);
const props = (field: number): Field[] => [entry(field, "k", "v"), entry(field, "", "")];

test("the comparison sees a difference in a known field, an unknown field and a packed list", () => {
  const a = reluModel([int(900, 7), sub(4, "domain")]);
  expect(compareModels(a, a)).toEqual([]);
  expect(compareModels(a, reluModel([int(900, 8), sub(4, "domain")]))).toHaveLength(1);
  expect(compareModels(a, reluModel([int(900, 7), sub(4, "other")]))).toHaveLength(1);
  const dims = (...d: number[]): Uint8Array =>
    model(graph({ initializers: [msg(packed(1, d), int(2, 1), sub(8, "w"))] }));
  expect(compareModels(dims(0, 1), dims(0, 2))).toHaveLength(1);
});

describe("metadata and unknown fields survive", () => {
  test("on every message", async () => {
    const tensor = rawTensor("w", [1, 2], sub(12, "doc"), ...props(16), ...unknown());
    const attribute = msg(sub(1, "alpha"), float(2, 0.5), int(20, 1), sub(13, "doc"), ...unknown());
    const device = msg(
      sub(1, "tp"),
      sub(2, msg(sub(1, "x"), packed(2, [0, 1]), sub(4, msg(int(1, 0))))),
      int(3, 1),
    );
    const typeWithExtras = msg(
      sub(1, msg(int(1, 1), sub(2, msg(sub(1, msg(int(1, 2), sub(3, "DATA_BATCH"), ...unknown())))))),
      sub(6, "IMAGE"),
      ...unknown(),
    );
    const bytes = model(
      graph({
        nodes: [
          node(
            "Elu",
            ["x"],
            ["h"],
            sub(3, "n"),
            sub(5, attribute),
            sub(6, "doc"),
            ...props(9),
            sub(10, device),
            ...unknown(),
          ),
          node("Add", ["h", "w"], ["y"]),
        ],
        inputs: [info("x", typeWithExtras, sub(3, "doc"), ...props(4), ...unknown())],
        outputs: [info("y", type)],
        initializers: [tensor],
        more: [
          sub(10, "doc"),
          sub(13, info("h", type, sub(3, "doc"))),
          sub(13, info("not there", type)),
          sub(14, msg(sub(1, "x"), entry(2, "SCALE_TENSOR", "w"))),
          ...props(16),
          ...unknown(),
        ],
      }),
      sub(2, "maker"),
      sub(3, "1.0"),
      sub(4, "org.example"),
      int(5, 3),
      sub(6, "doc"),
      ...props(14),
      sub(20, msg(sub(1, graph({ nodes: [node("Relu", ["a"], ["b"])] })), entry(3, "a", "b"))),
      sub(26, msg(sub(1, "tp"), int(2, 2), sub(3, "cpu:0"))),
      ...unknown(),
    );
    expect(await roundTrip(bytes)).toEqual([]);
  });

  test("empty strings that were written stay written, absent ones stay absent", async () => {
    const explicit = model(
      graph({
        name: "",
        nodes: [node("Relu", ["x"], ["y"], sub(3, ""), sub(7, ""), sub(8, ""), sub(6, ""))],
        inputs: [info("x", type)],
        outputs: [info("y", type)],
      }),
      sub(2, ""),
      sub(3, ""),
    );
    expect(await roundTrip(explicit)).toEqual([]);
    expect(await roundTrip(reluModel())).toEqual([]);
  });

  test("the standard domain keeps its spelling and reads as the empty one", async () => {
    const bytes = msg(
      int(1, 8),
      sub(
        7,
        graph({
          nodes: [node("Relu", ["x"], ["y"], sub(7, "ai.onnx"))],
          inputs: [info("x", type)],
          outputs: [info("y", type)],
        }),
      ),
      sub(8, msg(sub(1, "ai.onnx"), int(2, 17), ...unknown())),
      sub(8, msg(int(2, 1), sub(1, "com.microsoft"))),
      sub(8, msg(sub(1, "org.example.unknown"), int(2, 3))),
    );
    const read = decodeModel(bytes);
    expect([...read.opsets]).toEqual([
      ["", 17],
      ["com.microsoft", 1],
      ["org.example.unknown", 3],
    ]);
    expect([...read.graph.nodes()][0]!.domain).toBe("");
    expect(await roundTrip(bytes)).toEqual([]);
  });

  test("IR version 1 imports no operator set and means the first", async () => {
    const bytes = msg(
      int(1, 1),
      sub(7, graph({ nodes: [node("Relu", ["x"], ["y"])], inputs: [info("x", type)] })),
    );
    expect(decodeModel(bytes).opsets.get("")).toBe(1);
    expect(await roundTrip(bytes)).toEqual([]);
  });
});

describe("attributes", () => {
  const attr = (name: string, code: number, ...value: Field[]): Uint8Array =>
    msg(sub(1, name), ...value, int(20, code));
  const inner = graph({ name: "inner", outputs: [info("x", type)] });
  const sparse = msg(
    sub(1, rawTensor("values", [1, 2])),
    sub(2, msg(int(1, 2), int(2, 7), packed(7, [0, 3]), sub(8, "indices"))),
    packed(3, [2, 2]),
    ...unknown(),
  );
  const cases: Record<string, Uint8Array> = {
    int: attr("a", 2, int(3, -5)),
    "int above 2^53": attr("a", 2, int(3, 9223372036854775807n)),
    "least int": attr("a", 2, int(3, -9223372036854775808n)),
    float: attr("a", 1, float(2, -0)),
    string: attr("a", 3, sub(4, new Uint8Array([0xff, 0x00, 0xfe]))),
    tensor: attr("a", 4, sub(5, rawTensor("named", [1], sub(12, "doc")))),
    graph: attr("a", 5, sub(6, inner)),
    sparse: attr("a", 11, sub(22, sparse)),
    type: attr("a", 13, sub(14, type)),
    "type without value": attr("a", 13, sub(14, msg())),
    ints: attr("a", 7, packed(8, [1, -2, 4503599627370497n])),
    "unpacked ints": attr("a", 7, int(8, 1), int(8, 2)),
    floats: attr("a", 6, floats(7, [1.5, Number.POSITIVE_INFINITY])),
    strings: attr("a", 8, sub(9, "x"), sub(9, "")),
    tensors: attr("a", 9, sub(10, rawTensor("", [1])), sub(10, rawTensor("t", [2]))),
    graphs: attr("a", 10, sub(11, inner), sub(11, inner)),
    sparses: attr("a", 12, sub(23, sparse)),
    types: attr("a", 14, sub(15, type), sub(15, msg(sub(6, "denotation"), sub(1, msg(int(1, 1)))))),
    "empty list": attr("a", 7),
    "value left out": attr("a", 2),
    "no type": msg(sub(1, "a"), int(3, 4)),
    "no type, list": msg(sub(1, "a"), floats(7, [1])),
    "no type, nothing": msg(sub(1, "a")),
    "undefined type": attr("a", 0, int(3, 4)),
    "values in other fields": attr("a", 2, int(3, 4), float(2, 0), sub(4, "")),
  };
  test.each(Object.entries(cases))("%s", async (_, attribute) => {
    const bytes = model(
      graph({
        nodes: [node("Thing", ["x"], ["y"], sub(5, attribute), sub(7, "org.example"))],
        inputs: [info("x", type)],
        outputs: [info("y", null)],
      }),
    );
    expect(await roundTrip(bytes)).toEqual([]);
  });

  test("wide integers are exact", () => {
    const bytes = model(
      graph({
        nodes: [node("Thing", [], [], sub(5, attr("a", 7, packed(8, [2n ** 53n + 1n, -(2n ** 62n), 5]))))],
      }),
    );
    const [n] = decodeModel(bytes).graph.nodes();
    expect(n!.attrs.get("a")).toEqual({ kind: "ints", value: [2n ** 53n + 1n, -(2n ** 62n), 5] });
  });
});

describe("tensors", () => {
  const holding = (t: Uint8Array): Uint8Array => model(graph({ initializers: [t] }));
  const COUNT = 5;

  test.each(Object.keys(DTYPES) as DType[])("%s as raw_data and in its typed field", async (dtype) => {
    const { onnx, bits, kind } = DTYPES[dtype];
    const head = (): Field[] => [int(1, COUNT), int(2, onnx), sub(8, "w")];
    if (kind === "string") {
      const strings = ["a", "", "\u00e9", "d", "e"].map((s) => sub(6, s));
      expect(await roundTrip(holding(msg(head(), strings)))).toEqual([]);
      return;
    }
    const length = Math.ceil((COUNT * bits) / 8);
    const raw = Uint8Array.from({ length }, (_, i) => (i * 37 + 129) & 0xff);
    const view = new DataView(raw.buffer);
    const unit = kind === "complex" ? bits / 2 : bits;
    let field: Field;
    if ((kind === "float" || kind === "complex") && unit >= 32) field = sub(unit === 32 ? 4 : 10, raw);
    else {
      const width = Math.max(8, bits);
      const values = Array.from({ length: raw.length / (width / 8) }, (_, i) => {
        const at = (i * width) / 8;
        if (width === 64) return kind === "int" ? view.getBigInt64(at, true) : view.getBigUint64(at, true);
        const signed = kind === "int" && bits >= 8;
        if (width === 32) return signed ? view.getInt32(at, true) : view.getUint32(at, true);
        if (width === 16) return signed ? view.getInt16(at, true) : view.getUint16(at, true);
        return signed ? view.getInt8(at) : view.getUint8(at);
      });
      const number = kind === "int" && bits === 64 ? 7 : kind === "uint" && bits >= 32 ? 11 : 5;
      const wrapped = values.map((v) => (typeof v === "bigint" ? BigInt.asIntN(64, v) : v));
      field = packed(number, wrapped);
    }
    for (const data of [sub(9, raw), field]) {
      const bytes = holding(msg(head(), data));
      const [value] = decodeModel(bytes).graph.values();
      expect(value!.init).toEqual({ dtype, dims: [COUNT], source: { kind: "inline", bytes: raw } });
      expect(await roundTrip(bytes)).toEqual([]);
    }
  });

  test.each<[string, Uint8Array]>([
    ["unpacked floats", msg(int(1, 2), int(2, 1), float(4, 1), float(4, 2), sub(8, "w"))],
    ["floats in two packed runs", msg(int(1, 2), int(2, 1), floats(4, [1]), sub(8, "w"), floats(4, [2]))],
    ["packed then unpacked", msg(int(1, 3), int(2, 6), packed(5, [1, -1]), int(5, 7), sub(8, "w"))],
    ["unpacked doubles", msg(int(1, 1), int(2, 11), double(10, 2.5), sub(8, "w"))],
    ["packed dims", msg(packed(1, [1, 2]), int(2, 1), floats(4, [1, 2]), sub(8, "w"))],
    ["scalar", msg(int(2, 1), floats(4, [1]), sub(8, "w"))],
    ["no elements and no data", msg(int(1, 0), int(2, 1), sub(8, "w"))],
    ["no elements, empty raw_data", msg(int(1, 0), int(2, 1), sub(8, "w"), sub(9, ""))],
    ["location said to be here", msg(int(1, 1), int(2, 1), sub(8, "w"), floats(4, [1]), int(14, 0))],
    ["no strings", msg(int(1, 0), int(2, 8), sub(8, "w"))],
  ])("%s", async (_, tensor) => {
    expect(await roundTrip(holding(tensor))).toEqual([]);
  });

  test("data above a kilobyte is located in the file, not read", async () => {
    const values = Array.from({ length: 1000 }, (_, i) => i / 7);
    const typed = msg(int(1, 1000), int(2, 1), sub(8, "typed"), floats(4, values));
    const bytes = model(graph({ initializers: [rawTensor("raw", values), typed] }));
    const path = join(folder, "located.onnx");
    writeFileSync(path, bytes);
    const read = await readModel(path);
    for (const v of read.graph.values()) {
      const { source } = v.init!;
      if (source.kind !== "file") throw new Error(`${v.name} is ${source.kind}`);
      expect(source.path).toBe(path);
      const at = bytes.subarray(source.offset, source.offset + source.length);
      expect(Buffer.compare(at, new Uint8Array(Float32Array.from(values).buffer))).toBe(0);
    }
    expect(await roundTrip(bytes)).toEqual([]);
  });

  test("sparse initializers", async () => {
    const sparse = (name: string, ...indices: Field[]): Field =>
      sub(15, msg(sub(1, rawTensor(name, [1, 2])), sub(2, msg(...indices, int(2, 7))), packed(3, [4, 3])));
    const bytes = model(
      graph({
        nodes: [node("Add", ["flat", "pairs"], ["y"])],
        more: [
          sparse("flat", int(1, 2), packed(7, [0, 11])),
          sparse("pairs", int(1, 2), int(1, 2), packed(7, [0, 1, 3, 2])),
        ],
      }),
    );
    const values = [...decodeModel(bytes).graph.values()];
    expect(values.map((v) => [v.name, v.sparse?.dims, v.sparse?.indices.dims])).toEqual([
      ["flat", [4, 3], [2]],
      ["pairs", [4, 3], [2, 2]],
      ["y", undefined, undefined],
    ]);
    expect(await roundTrip(bytes)).toEqual([]);
  });
});

describe("types", () => {
  const tensor = (dims: Parameters<typeof tensorTypeProto>[1]): Uint8Array => tensorTypeProto(1, dims);
  const cases: Record<string, Uint8Array | null> = {
    none: null,
    empty: msg(),
    "no rank": tensor(null),
    scalar: tensor([]),
    "named and unnamed dims": tensor(["N", null, 3, 0]),
    "dim expressions": tensor(["batch", "2*height", "floor((width - 1)/2) + 1", "unk__5", "a b", "?"]),
    "minus one": tensor([-1]),
    "name and number": msg(sub(1, msg(int(1, 1), sub(2, msg(sub(1, msg(int(1, 3), sub(2, "N")))))))),
    "empty name": tensor([""]),
    sequence: msg(sub(4, msg(sub(1, tensor([1]))))),
    "sequence of nothing": msg(sub(4, msg())),
    optional: msg(sub(9, msg(sub(1, msg(sub(4, msg(sub(1, tensor(null))))))))),
    map: msg(sub(5, msg(int(1, 7), sub(2, tensor([2]))))),
    sparse: msg(sub(8, msg(int(1, 1), sub(2, msg(sub(1, msg(int(1, 9)))))))),
    opaque: msg(sub(7, msg(sub(1, "org.example"), sub(2, "blob")))),
    "element type of the future": msg(sub(1, msg(int(1, 99)))),
    "no element type": msg(sub(1, msg(sub(2, msg())))),
  };
  test.each(Object.entries(cases))("%s", async (_, t) => {
    const bytes = model(
      graph({
        nodes: [node("Identity", ["x"], ["h"]), node("Identity", ["h"], ["y"])],
        inputs: [info("x", t)],
        outputs: [info("y", t)],
        more: [sub(13, info("h", t))],
      }),
    );
    expect(await roundTrip(bytes)).toEqual([]);
  });

  test("unnamed dims are different unknowns", () => {
    const bytes = model(graph({ inputs: [info("x", tensor([null, null])), info("y", tensor([null, "?"]))] }));
    const dims = [...decodeModel(bytes).graph.values()].flatMap((v) =>
      v.type?.kind === "tensor" ? [...(v.type.shape ?? [])] : [],
    );
    expect(new Set(dims).size).toBe(4);
    expect(dims.every((d) => String(d).startsWith("?"))).toBe(true);
  });
});

describe("graphs", () => {
  const nested = (inner: Uint8Array): Uint8Array =>
    node("If", ["c"], ["y"], sub(5, msg(sub(1, "then_branch"), sub(6, inner), int(20, 5))));

  test("captures of outer values, also by the output", async () => {
    const bytes = model(
      graph({
        nodes: [
          node("Relu", ["x"], ["h"]),
          nested(
            graph({
              nodes: [node("Add", ["h", "x"], ["t"])],
              outputs: [info("t", type), info("h", type)],
            }),
          ),
        ],
        inputs: [info("x", type), info("c", tensorTypeProto(9, []))],
        outputs: [info("y", type)],
      }),
    );
    const read = decodeModel(bytes);
    const [relu, branch] = [...read.graph.nodes()];
    const attr = branch!.attrs.get("then_branch");
    if (attr?.kind !== "graph") throw new Error("no graph");
    const [add] = attr.value.nodes();
    expect(add!.inputs).toEqual([relu!.outputs[0], read.graph.inputs[0]]);
    expect(attr.value.outputs[1]).toBe(relu!.outputs[0]);
    expect(await roundTrip(bytes)).toEqual([]);
  });

  test("an inner name hides an outer one from where it is made", async () => {
    const bytes = model(
      graph({
        nodes: [
          node("Relu", ["x"], ["h"]),
          nested(
            graph({
              nodes: [node("Neg", ["h"], ["a"]), node("Abs", ["a"], ["x"]), node("Exp", ["x"], ["b"])],
              outputs: [info("b", type)],
            }),
          ),
        ],
        inputs: [info("x", type), info("c", tensorTypeProto(9, []))],
        outputs: [info("y", type)],
      }),
    );
    const read = decodeModel(bytes);
    const attr = [...read.graph.nodes()][1]!.attrs.get("then_branch");
    if (attr?.kind !== "graph") throw new Error("no graph");
    const [neg, abs, exp] = [...attr.value.nodes()];
    expect(neg!.inputs[0]).toBe([...read.graph.nodes()][0]!.outputs[0]);
    expect(exp!.inputs[0]).toBe(abs!.outputs[0]);
    expect(await roundTrip(bytes)).toEqual([]);
  });

  test("nodes out of order are sorted", () => {
    const bytes = model(
      graph({
        nodes: [node("Neg", ["h"], ["y"], sub(3, "second")), node("Relu", ["x"], ["h"], sub(3, "first"))],
        inputs: [info("x", type)],
        outputs: [info("y", type)],
      }),
    );
    expect([...decodeModel(bytes).graph.nodes()].map((n) => n.name)).toEqual(["first", "second"]);
  });

  test("initializers that are inputs, in another order; passed-through and repeated outputs; left-out values", async () => {
    const bytes = model(
      graph({
        nodes: [node("Clip", ["x", "", "b"], ["y", ""])],
        inputs: [info("x", type), info("a", type), info("b", type)],
        outputs: [info("y", type), info("x", tensorTypeProto(1, ["N"])), info("y", type), info("a", type)],
        initializers: [rawTensor("b", [1, 2]), rawTensor("a", [3, 4]), rawTensor("c", [5])],
        more: [sub(13, info("c", tensorTypeProto(1, [1]))), sub(13, info("x", type))],
      }),
    );
    const { graph: g } = decodeModel(bytes);
    expect(g.constant(g.inputs[1])).toBeNull();
    expect(g.value(g.inputs[1]!).init).not.toBeNull();
    expect(await roundTrip(bytes)).toEqual([]);
  });
});

test("functions with overloads, defaults, references, metadata and described values", async () => {
  const reference = msg(sub(1, "alpha"), sub(21, "slope"), int(20, 1));
  const body = (overload: Field[]): Field =>
    sub(
      25,
      msg(
        sub(1, "Leaky"),
        sub(4, "x"),
        sub(5, "y"),
        sub(6, "required"),
        sub(7, node("LeakyRelu", ["x"], ["h"], sub(5, reference))),
        sub(7, node("Relu", ["h"], ["y"])),
        sub(8, "doc"),
        sub(9, msg(sub(1, ""), int(2, 21))),
        sub(10, "org.example"),
        sub(11, msg(sub(1, "slope"), float(2, 0.25), int(20, 1))),
        sub(12, info("x", type)),
        sub(12, info("h", type)),
        sub(12, info("gone", type)),
        ...overload,
        ...props(14),
        ...unknown(),
      ),
    );
  const bytes = model(
    graph({
      nodes: [node("Leaky", ["x"], ["y"], sub(7, "org.example"), sub(8, "fast"))],
      inputs: [info("x", type)],
      outputs: [info("y", type)],
    }),
    body([]),
    body([sub(13, "fast")]),
  );
  const read = decodeModel(bytes);
  expect(
    read.functions.map((f) => [f.domain, f.name, f.overload, [...f.defaults.keys()], f.attributes]),
  ).toEqual([
    ["org.example", "Leaky", "", ["slope"], ["required"]],
    ["org.example", "Leaky", "fast", ["slope"], ["required"]],
  ]);
  const [leaky] = read.functions[0]!.body.nodes();
  expect(leaky!.attrs.get("alpha")).toEqual({ kind: "ref", name: "slope", type: 1 });
  expect(await roundTrip(bytes)).toEqual([]);
});

test("a trained model reads the same through the file window and from memory, and comes back", async () => {
  const path = fileURLToPath(new URL("../../../fixtures/cifar-unet/unet/model.onnx", import.meta.url));
  const bytes = readFileSync(path);
  const fromFile = await readModel(path);
  const located = [...fromFile.graph.values()].filter((v) => v.init?.source.kind === "file");
  expect(located.length).toBeGreaterThan(100);
  const encoded = await encodeModel(fromFile, fileReader());
  expect(Buffer.compare(await encodeModel(decodeModel(bytes, path), fileReader()), encoded)).toBe(0);
  expect(compareModels(bytes, encoded)).toEqual([]);
  const after = join(folder, "split.onnx");
  const written = await writeModel(fromFile, after, { reader: fileReader() });
  expect(written.files).toHaveLength(2);
  expect(compareModels(bytes, readFileSync(after), { before: path, after })).toEqual([]);
});
