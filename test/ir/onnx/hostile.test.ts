import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writer } from "protobufjs/minimal.js";
import { afterAll, describe, expect, test } from "vitest";
import { DiffpressError } from "../../../src/diagnostics/index.ts";
import { decodeModel, readModel } from "../../../src/ir/onnx/index.ts";
import {
  entry,
  type Field,
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
} from "./proto.ts";

const folder = mkdtempSync(join(tmpdir(), "diffpress-hostile-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Refusal {
  readonly code: string;
  readonly details: Record<string, unknown>;
}

function refusal(e: unknown): Refusal {
  if (!(e instanceof DiffpressError)) throw e;
  return { code: e.code, details: e.diagnostic.details as Record<string, unknown> };
}

/** The diagnostic decoding gives; reading the same bytes from a file must give the same. */
async function refused(bytes: Uint8Array): Promise<Refusal> {
  const path = join(folder, "model.onnx");
  writeFileSync(path, bytes);
  const outcomes: Refusal[] = [];
  for (const read of [() => readModel(path), async () => decodeModel(bytes, path)]) {
    try {
      await read();
    } catch (e) {
      outcomes.push(refusal(e));
      continue;
    }
    throw new Error("the model was read");
  }
  expect(outcomes[0]).toEqual(outcomes[1]);
  return outcomes[0]!;
}

const type = tensorTypeProto(1, [2]);
const holding = (...tensor: Field[]): Uint8Array =>
  model(graph({ initializers: [msg(sub(8, "w"), tensor)] }));
const raw = (bytes: number): Field => sub(9, new Uint8Array(bytes));
const tag = (field: number, wire: number): Uint8Array =>
  Writer.create()
    .uint32(field * 8 + wire)
    .finish();

describe("files that are not models", () => {
  test("every cut of a model is refused", async () => {
    const whole = model(
      graph({
        nodes: [node("Relu", ["x"], ["y"])],
        inputs: [info("x", type)],
        outputs: [info("y", type)],
        initializers: [rawTensor("w", [1, 2, 3])],
      }),
    );
    // The fields after the graph may be missing without the rest being wrong.
    const opset = sub(8, msg(sub(1, ""), int(2, 21)));
    for (let length = 0; length < whole.length - opset.length; length++) {
      const { code, details } = await refused(whole.subarray(0, length));
      expect(["ONNX_TRUNCATED", "ONNX_MALFORMED"]).toContain(code);
      expect(details["offset"]).toBeLessThanOrEqual(length);
    }
    const cut = await refused(whole.subarray(0, whole.length - opset.length - 1));
    expect(cut).toMatchObject({ code: "ONNX_TRUNCATED", details: { size: whole.length - opset.length - 1 } });
  });

  test.each<[string, Uint8Array, string]>([
    ["empty", msg(), "empty"],
    ["text", Buffer.from("hello, world\n"), ""],
    ["a Git LFS pointer", Buffer.from("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"],
    ["zeros", new Uint8Array(64), "field number"],
    ["without graph", msg(int(1, 8)), "no graph"],
    ["two graphs", msg(int(1, 8), sub(7, graph({})), sub(7, graph({}))), "two graphs"],
  ])("%s", async (_, bytes, problem) => {
    const { code, details } = await refused(bytes);
    expect(["ONNX_MALFORMED", "ONNX_TRUNCATED"]).toContain(code);
    if (problem !== "") expect(String(details["problem"])).toContain(problem);
  });

  test.each([0, 14, 1000, -1, 2 ** 40])("IR version %i", async (version) => {
    const { code } = await refused(msg(int(1, version), sub(7, graph({}))));
    expect(code).toBe("ONNX_VERSION");
  });

  test.each(["", "/no/such/model.onnx", "/", "/dev/null"])("unreadable path %j", async (path) => {
    await expect(readModel(path).catch((e) => Promise.reject(refusal(e)))).rejects.toMatchObject({
      code: "ONNX_UNREADABLE",
    });
  });

  test("a pipe does not block", async () => {
    const path = join(folder, "pipe");
    execFileSync("mkfifo", [path]);
    await expect(readModel(path)).rejects.toMatchObject({ code: "ONNX_UNREADABLE" });
  });
});

describe("lengths, counts and nesting", () => {
  test.each<[string, Uint8Array, string]>([
    [
      "a graph of 2^62 bytes",
      msg(
        int(1, 8),
        tag(7, 2),
        Writer.create()
          .uint64(2 ** 52)
          .finish(),
      ),
      "ONNX_TRUNCATED",
    ],
    [
      "a node longer than its graph",
      msg(
        sub(7, msg(tag(1, 2), Writer.create().uint32(200).finish(), sub(2, "g"))),
        int(1, 8),
        sub(6, "doc".repeat(99)),
      ),
      "ONNX_MALFORMED",
    ],
    ["an endless varint", msg(tag(1, 0), new Uint8Array(12).fill(0xff)), "ONNX_MALFORMED"],
    ["a varint cut off", msg(tag(1, 0), new Uint8Array(5).fill(0xff)), "ONNX_TRUNCATED"],
    ["wire type 7", msg(int(1, 8), tag(7, 7)), "ONNX_MALFORMED"],
    ["a group without end", msg(int(1, 8), tag(900, 3), int(1, 1)), "ONNX_MALFORMED"],
    ["a group that ends as another", msg(int(1, 8), tag(900, 3), tag(901, 4)), "ONNX_MALFORMED"],
    ["an end without group", msg(int(1, 8), tag(900, 4)), "ONNX_MALFORMED"],
    ["field number 0", msg(int(1, 8), new Uint8Array([2, 0])), "ONNX_MALFORMED"],
    [
      "a name that is not UTF-8",
      model(graph({ nodes: [msg(sub(4, new Uint8Array([0xff, 0xfe])))] })),
      "ONNX_MALFORMED",
    ],
    ["a name of a megabyte", model(graph({ nodes: [node("x".repeat(2 ** 20), [], [])] })), "ONNX_LIMIT"],
    ["dims of rank 65", holding(packed(1, new Array(65).fill(1)), int(2, 1)), "ONNX_LIMIT"],
    [
      "a type of rank 65",
      model(graph({ inputs: [info("x", tensorTypeProto(1, new Array(65).fill(1)))] })),
      "ONNX_LIMIT",
    ],
  ])("%s", async (_, bytes, code) => {
    expect((await refused(bytes)).code).toBe(code);
  });

  test("graphs nested a thousand deep", async () => {
    let inner = graph({});
    for (let i = 0; i < 1000; i++)
      inner = graph({ nodes: [node("If", [], [], sub(5, msg(sub(1, "b"), sub(6, inner), int(20, 5))))] });
    expect(await refused(model(inner))).toMatchObject({ code: "ONNX_LIMIT", details: { limit: 100 } });
  });

  test("types and groups nested a thousand deep", async () => {
    let t = type;
    for (let i = 0; i < 1000; i++) t = msg(sub(4, msg(sub(1, t))));
    expect((await refused(model(graph({ inputs: [info("x", t)] })))).code).toBe("ONNX_LIMIT");
    const groups = Buffer.concat([
      ...new Array(1000).fill(tag(900, 3)),
      ...new Array(1000).fill(tag(900, 4)),
    ]);
    expect((await refused(msg(int(1, 8), groups))).code).toBe("ONNX_LIMIT");
  });

  test("more nodes than any model has", async () => {
    const one = sub(1, node("A", [], []));
    const many = Buffer.alloc(one.length * (2 ** 20 + 1));
    for (let at = 0; at < many.length; at += one.length) many.set(one, at);
    expect((await refused(model(many))).code).toBe("ONNX_LIMIT");
  });

  test("a list longer than V8 can hold", () => {
    const ints = msg(sub(1, "a"), sub(8, new Uint8Array(2 ** 24 + 8)), int(20, 7));
    try {
      decodeModel(model(graph({ nodes: [node("A", [], [], sub(5, ints))] })));
    } catch (e) {
      expect(refusal(e)).toMatchObject({ code: "ONNX_LIMIT", details: { limit: 2 ** 24 } });
      return;
    }
    throw new Error("the model was read");
  });
});

describe("tensors that do not add up", () => {
  test.each<[string, Uint8Array, string]>([
    ["a negative dim", holding(int(1, -1), int(2, 1)), "ONNX_MALFORMED"],
    ["a dim of 2^62", holding(int(1, 2n ** 62n), int(2, 1)), "ONNX_MALFORMED"],
    ["a dim of 2^52", holding(int(1, 2 ** 52), int(2, 1), raw(4)), "ONNX_LIMIT"],
    [
      "dims whose product overflows",
      holding(int(1, 2 ** 32), int(1, 2 ** 32), int(2, 1), raw(0)),
      "ONNX_LIMIT",
    ],
    [
      "overflow hidden by a zero",
      holding(...new Array(40).fill(int(1, 2 ** 48)), int(1, 0), int(2, 1)),
      "ONNX_LIMIT",
    ],
    ["too little raw_data", holding(int(1, 4), int(2, 1), raw(15)), "ONNX_TENSOR_INVALID"],
    ["too much raw_data", holding(int(1, 4), int(2, 1), raw(17)), "ONNX_TENSOR_INVALID"],
    ["no data", holding(int(1, 4), int(2, 1)), "ONNX_TENSOR_INVALID"],
    [
      "dims of terabytes without data",
      holding(int(1, 2 ** 45), int(2, 1), packed(5, [1])),
      "ONNX_TENSOR_INVALID",
    ],
    ["huge dims and one varint", holding(int(1, 2 ** 45), int(2, 7), packed(7, [1])), "ONNX_TENSOR_INVALID"],
    ["too few varints", holding(int(1, 4), int(2, 7), packed(7, [1, 2, 3])), "ONNX_TENSOR_INVALID"],
    ["too many varints", holding(int(1, 4), int(2, 6), packed(5, [1, 2, 3, 4, 5])), "ONNX_TENSOR_INVALID"],
    ["the wrong typed field", holding(int(1, 1), int(2, 1), packed(7, [1])), "ONNX_TENSOR_INVALID"],
    ["two data fields", holding(int(1, 1), int(2, 6), packed(5, [1]), raw(4)), "ONNX_TENSOR_INVALID"],
    ["raw_data twice", holding(int(1, 1), int(2, 1), raw(4), raw(4)), "ONNX_MALFORMED"],
    ["strings in raw_data", holding(int(1, 1), int(2, 8), raw(4)), "ONNX_TENSOR_INVALID"],
    ["too few strings", holding(int(1, 2), int(2, 8), sub(6, "a")), "ONNX_TENSOR_INVALID"],
    ["strings of another type", holding(int(1, 1), int(2, 1), sub(6, "a")), "ONNX_TENSOR_INVALID"],
    ["element type 0", holding(int(1, 1), raw(4)), "ONNX_DTYPE_UNKNOWN"],
    ["element type 99", holding(int(1, 1), int(2, 99), raw(4)), "ONNX_DTYPE_UNKNOWN"],
    ["an unknown data location", holding(int(1, 1), int(2, 1), raw(4), int(14, 2)), "ONNX_TENSOR_INVALID"],
    ["external and inline", holding(int(1, 1), int(2, 1), raw(4), int(14, 1)), "ONNX_TENSOR_INVALID"],
    ["external without location", holding(int(1, 1), int(2, 1), int(14, 1)), "ONNX_TENSOR_INVALID"],
    ["external strings", holding(int(1, 1), int(2, 8), int(14, 1)), "ONNX_TENSOR_INVALID"],
    [
      "entries of a tensor that is not external",
      holding(int(1, 1), int(2, 1), raw(4), entry(13, "location", "a")),
      "ONNX_TENSOR_INVALID",
    ],
    [
      "a negative dim in a type",
      model(graph({ inputs: [info("x", tensorTypeProto(1, [-2]))] })),
      "ONNX_MALFORMED",
    ],
    [
      "a sparse tensor whose indices do not fit",
      model(
        graph({
          more: [
            sub(
              15,
              msg(
                sub(1, rawTensor("s", [1, 2])),
                sub(2, msg(int(1, 3), int(2, 7), packed(7, [0, 1, 2]))),
                packed(3, [4]),
              ),
            ),
          ],
        }),
      ),
      "ONNX_TENSOR_INVALID",
    ],
    [
      "a sparse tensor without values",
      model(graph({ more: [sub(15, msg(packed(3, [4])))] })),
      "ONNX_TENSOR_INVALID",
    ],
  ])("%s", async (_, bytes, code) => {
    const found = await refused(bytes);
    expect(found.code).toBe(code);
    expect(found.details["file"]).toBe(join(folder, "model.onnx"));
    expect(found.details["offset"]).toBeGreaterThan(0);
  });
});

describe("graphs that are none", () => {
  const io = { inputs: [info("x", type)], outputs: [info("y", type)] };
  const one = (...nodes: Uint8Array[]): Uint8Array => model(graph({ ...io, nodes }));
  const branch = (g: Uint8Array): Field => sub(5, msg(sub(1, "then_branch"), sub(6, g), int(20, 5)));

  test("cycles name a node on them", async () => {
    const cyclic = one(
      node("Relu", ["x"], ["a"], sub(3, "before")),
      node("Add", ["a", "c"], ["b"], sub(3, "first")),
      node("Neg", ["b"], ["c"], sub(3, "second")),
      node("Abs", ["c"], ["y"], sub(3, "after")),
    );
    const { code, details } = await refused(cyclic);
    expect(code).toBe("GRAPH_CYCLE");
    expect(["first", "second"]).toContain(details["node"]);
    expect(await refused(one(node("Add", ["x", "y"], ["y"], sub(3, "self"))))).toMatchObject({
      code: "GRAPH_CYCLE",
      details: { node: "self" },
    });
    const captured = one(
      node(
        "If",
        ["x"],
        ["y"],
        sub(3, "loop"),
        branch(graph({ nodes: [node("Neg", ["y"], ["t"])], outputs: [info("t", type)] })),
      ),
    );
    expect(await refused(captured)).toMatchObject({ code: "GRAPH_CYCLE", details: { node: "loop" } });
  });

  test.each<[string, Uint8Array, string, string]>([
    ["two producers", one(node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])), "GRAPH_DUPLICATE", "y"],
    ["one node, the same output twice", one(node("Split", ["x"], ["y", "y"])), "GRAPH_DUPLICATE", "y"],
    ["a node that makes an input", one(node("Relu", ["x"], ["x"])), "GRAPH_DUPLICATE", "x"],
    ["two inputs", model(graph({ inputs: [info("x", type), info("x", type)] })), "GRAPH_DUPLICATE", "x"],
    [
      "two initializers",
      model(graph({ initializers: [rawTensor("w", [1]), rawTensor("w", [2])] })),
      "GRAPH_DUPLICATE",
      "w",
    ],
    ["an undefined input", one(node("Add", ["x", "ghost"], ["y"])), "GRAPH_UNDEFINED", "ghost"],
    ["an undefined output", one(), "GRAPH_UNDEFINED", "y"],
    [
      "an inner value read outside",
      one(
        node(
          "If",
          ["x"],
          ["t"],
          branch(graph({ nodes: [node("Neg", ["x"], ["inner"])], outputs: [info("inner", type)] })),
        ),
        node("Relu", ["inner"], ["y"]),
      ),
      "GRAPH_UNDEFINED",
      "inner",
    ],
    [
      "a function reading the graph around it",
      reluModel([sub(25, msg(sub(1, "F"), sub(10, "d"), sub(5, "o"), sub(7, node("Neg", ["x"], ["o"]))))]),
      "GRAPH_UNDEFINED",
      "x",
    ],
    [
      "two functions",
      reluModel([sub(25, msg(sub(1, "F"), sub(10, "d"))), sub(25, msg(sub(1, "F"), sub(10, "d")))]),
      "GRAPH_DUPLICATE",
      "F",
    ],
  ])("%s", async (_, bytes, code, name) => {
    const found = await refused(bytes);
    expect(found).toMatchObject({ code, details: { name } });
    expect(found.details["offset"]).toBeGreaterThan(0);
  });

  test.each<[string, Uint8Array]>([
    ["a node without operator", one(msg(sub(1, "x"), sub(2, "y")))],
    ["an input without name", model(graph({ inputs: [info("", type)] }))],
    ["an initializer without name", model(graph({ initializers: [rawTensor("", [1])] }))],
    ["an attribute without name", one(node("Relu", ["x"], ["y"], sub(5, msg(int(3, 1), int(20, 2)))))],
    [
      "an attribute twice",
      one(node("Relu", ["x"], ["y"], ...[1, 2].map((v) => sub(5, msg(sub(1, "a"), int(3, v), int(20, 2)))))),
    ],
    ["an attribute of unknown type", one(node("Relu", ["x"], ["y"], sub(5, msg(sub(1, "a"), int(20, 77)))))],
    [
      "a graph attribute without graph",
      one(node("Relu", ["x"], ["y"], sub(5, msg(sub(1, "a"), int(20, 5))))),
    ],
    ["an operator set imported twice", reluModel([sub(8, msg(sub(1, "ai.onnx"), int(2, 9)))])],
    ["a negative operator set", reluModel([sub(8, msg(sub(1, "d"), int(2, -1)))])],
  ])("%s", async (_, bytes) => {
    expect((await refused(bytes)).code).toBe("ONNX_MALFORMED");
  });
});
