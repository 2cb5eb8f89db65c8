import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { compareModels } from "../../../scripts/conformance/wire.ts";
import { decodeModel, encodeModel, fileReader, readModel, writeModel } from "../../../src/ir/onnx/index.ts";
import {
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
import { folder, roundTrip } from "./round-trip.ts";

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
  const written = await writeModel(fromFile, after, { reader: fileReader(), external: { total: 0 } });
  expect(written.files).toHaveLength(2);
  expect(compareModels(bytes, readFileSync(after), { before: path, after })).toEqual([]);
});
