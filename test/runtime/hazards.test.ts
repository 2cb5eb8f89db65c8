import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ModelBuilder } from "../../src/ir/build.ts";
import type { DType } from "../../src/ir/dtype.ts";
import type { Dense } from "../../src/ir/evaluator.ts";
import { Graph, IdSource } from "../../src/ir/graph.ts";
import { f32Tensor, i64Tensor, inlineTensor, type Tensor } from "../../src/ir/tensor.ts";
import { tensorType } from "../../src/ir/types.ts";
import { withoutHazards } from "../../src/runtime/hazards.ts";
import { createRuntime, type Runtime } from "../../src/runtime/index.ts";
import { bytesOf } from "../../src/runtime/kernels/elements.ts";

/** Each of these ends the process with a signal when it reaches the pinned runtime unguarded. */

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
});
afterAll(() => runtime.close());

const zeros = (dims: readonly number[]): Tensor =>
  f32Tensor(new Float32Array(dims.reduce((a, b) => a * b, 1)), dims);

const cases: readonly [string, string, readonly Tensor[], Record<string, number>][] = [
  [
    "attention without heads",
    "Attention",
    [zeros([1, 2, 4]), zeros([1, 2, 4]), zeros([1, 2, 4])],
    { q_num_heads: 0, kv_num_heads: 0 },
  ],
  [
    "transposed convolution without groups",
    "ConvTranspose",
    [zeros([1, 1, 4, 4]), zeros([1, 1, 2, 2])],
    { group: 0 },
  ],
  ["Fourier transform of nothing", "DFT", [zeros([1, 0, 1])], {}],
  ["normalisation of nothing", "InstanceNormalization", [zeros([1, 2, 0]), zeros([2]), zeros([2])], {}],
  ["parts of length zero", "SplitToSequence", [zeros([4]), i64Tensor([0], [])], {}],
];

test.each(cases)("%s is refused", async (_, op, inputs, attrs) => {
  const b = new ModelBuilder({ opset: 24 });
  b.output(
    b.node(
      op,
      inputs.map((t) => b.constant(t)),
      attrs,
    ),
    "y",
  );
  await expect(runtime.evaluator.run(b.build(), new Map())).rejects.toMatchObject({
    code: "RUNTIME_REJECTED",
  });
});

test("an empty feed counts as much as an empty constant", async () => {
  const b = new ModelBuilder();
  const inputs = [b.input("x", "f32", ["n", 2, "w"]), b.constant(zeros([2])), b.constant(zeros([2]))];
  b.output(b.node("InstanceNormalization", inputs), "y", tensorType("f32", ["n", 2, "w"]));
  const model = b.build();
  const run = (w: number) =>
    runtime.evaluator.run(
      model,
      new Map([["x", { dtype: "f32" as const, dims: [1, 2, w], bytes: new Uint8Array(8 * w) }]]),
    );
  await expect(run(0)).rejects.toMatchObject({ code: "RUNTIME_REJECTED" });
  expect((await run(3)).get("y")!.dims).toEqual([1, 2, 3]);
});

describe("integer division", () => {
  const ints = (dtype: DType, values: readonly bigint[]): Dense => ({
    dtype,
    dims: [values.length],
    bytes: bytesOf(dtype === "i64" ? BigInt64Array.from(values) : Int32Array.from(values, Number)),
  });

  test.each([
    ["i32", "Div"],
    ["i32", "Mod"],
    ["i64", "Div"],
    ["i64", "Mod"],
  ] as const)("%s %s of the lowest number by -1 wraps, other quotients stay", async (dtype, op) => {
    const lowest = dtype === "i64" ? -(2n ** 63n) : -(2n ** 31n);
    const a = [lowest, lowest, lowest + 1n, 7n, -7n, 7n, lowest];
    const c = [-1n, 1n, -1n, -1n, 2n, 2n, 2n];
    const b = new ModelBuilder();
    const x = b.input("a", dtype, [a.length]);
    b.output(b.node(op, [x, b.input("b", dtype, [a.length])]), "y", tensorType(dtype, [a.length]));
    const out = await runtime.evaluator.run(
      b.build(),
      new Map([
        ["a", ints(dtype, a)],
        ["b", ints(dtype, c)],
      ]),
    );
    const want = a.map((v, i) => {
      if (op === "Div") return v / c[i]!;
      const rest = v % c[i]!;
      return rest !== 0n && rest < 0n !== c[i]! < 0n ? rest + c[i]! : rest;
    });
    const wrapped = want.map((v) => BigInt.asIntN(dtype === "i64" ? 64 : 32, v));
    expect(out.get("y")).toEqual(ints(dtype, wrapped));
  });

  test("inside a branch, and by a constant", async () => {
    const lowest = inlineTensor("i64", [1], bytesOf(BigInt64Array.of(-(2n ** 63n))));
    const b = new ModelBuilder();
    const x = b.constant(lowest, "x");
    const branch = (name: string) =>
      b.subgraph(name, (inner) => {
        inner.output(
          inner.node("Div", [x, inner.constant(i64Tensor([-1]), `${name}/d`)]),
          `${name}/y`,
          tensorType("i64", [1]),
        );
      });
    const condition = b.constant(inlineTensor("bool", [], Uint8Array.of(1)), "c");
    const attrs = { then_branch: branch("then"), else_branch: branch("else") };
    b.output(b.node("If", [condition], attrs), "y", tensorType("i64", [1]));
    const out = await runtime.evaluator.run(b.build(), new Map());
    expect(out.get("y")!.bytes).toEqual(bytesOf(BigInt64Array.of(-(2n ** 63n))));
  });

  test("float division and graphs without division are left as they are", () => {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", [2]);
    b.output(b.node("Div", [x, x]), "y");
    const model = b.build();
    expect(withoutHazards(model)).toBe(model);
  });
});

test("added nodes take ids that a fragment of a larger graph does not use", async () => {
  const b = new ModelBuilder({ opset: 19 });
  const x = b.constant(f32Tensor([1, -2]), "x");
  const y = b.node("Cast", [x], { to: 16 });
  b.output(y, "y", tensorType("bf16", [2]));
  const whole = b.build();
  const { graph } = whole;
  const fragment = new Graph({
    ids: new IdSource(),
    name: "fragment",
    nodes: graph.nodes(),
    values: graph.values(),
    inputs: [],
    outputs: graph.outputs,
  });
  const out = await runtime.evaluator.run({ ...whole, graph: fragment }, new Map());
  expect(out.get("y")).toEqual({ dtype: "bf16", dims: [2], bytes: bytesOf(Uint16Array.of(0x3f80, 0xc000)) });
});
