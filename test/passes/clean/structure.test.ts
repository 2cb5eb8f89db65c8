import { expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Attr, Model, ValueId } from "../../../src/ir/graph.ts";
import { f32Tensor, i64Tensor, inlineTensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { dedupeWeights } from "../../../src/passes/clean/dedupe-weights.ts";
import { inlineFunctions } from "../../../src/passes/clean/inline-functions.ts";
import { mergeDuplicates } from "../../../src/passes/clean/merge-duplicates.ts";
import { removeDead } from "../../../src/passes/clean/remove-dead.ts";
import { apply, difference, floats, ops, runtime, wave } from "../harness.ts";

const f32 = tensorType("f32", [2, 3]);

function twice(make: (b: ModelBuilder, x: ValueId) => ValueId): () => Model {
  return () => {
    const b = new ModelBuilder({ opset: 17 });
    b.output(make(b, b.input("x", "f32", [2, 3])), "y", f32);
    return b.build();
  };
}

it("merges equal computations, operands of commutative operators in any order", async () => {
  const make = twice((b, x) => {
    const one = b.constant(f32Tensor([2], []), "a");
    const other = b.constant(f32Tensor([2], []), "b");
    return b.node("Sub", [
      b.node("Exp", [b.node("Mul", [x, one])]),
      b.node("Exp", [b.node("Mul", [other, x])]),
    ]);
  });
  const model = make();
  await apply(model, [mergeDuplicates], [removeDead]);
  expect(ops(model)).toEqual(["Mul", "Exp", "Sub"]);
  expect(await difference(make(), model, { x: wave([2, 3]) })).toBe(0);
});

it("leaves each integer convolution its own constants, or the runtime could not make them unsigned", async () => {
  const make = () => {
    const b = new ModelBuilder({ opset: 17 });
    const x = b.input("x", "f32", [1, 4, 3, 3]);
    const of = (dtype: "u8" | "i8", dims: readonly number[], fill: number) =>
      b.constant(inlineTensor(dtype, dims, new Uint8Array(dims.reduce((n, d) => n * d, 1)).fill(fill)));
    const scale = b.constant(f32Tensor([0.02], []));
    const layer = (q: ValueId) =>
      b.node("QLinearConv", [
        ...[q, scale, of("u8", [], 120)],
        ...[of("i8", [4, 4, 1, 1], 3), b.constant(f32Tensor([0.2, 0.1, 0.3, 0.2])), of("i8", [4], 0)],
        ...[scale, of("u8", [], 120)],
      ]);
    const q = b.node("QuantizeLinear", [x, scale, of("u8", [], 120)]);
    const y = b.node("DequantizeLinear", [layer(layer(q)), scale, of("u8", [], 120)]);
    return b.output(y, "y", tensorType("f32", [1, 4, 3, 3])).build();
  };
  const model = make();
  await apply(model, [mergeDuplicates], [dedupeWeights, { minBytes: 1 }], [removeDead]);
  const [first, second] = [...model.graph.nodes()].filter((n) => n.op === "QLinearConv");
  expect(first!.inputs[3]).not.toBe(second!.inputs[3]);
  expect(first!.inputs[5]).not.toBe(second!.inputs[5]);
  // Everything else is shared.
  expect(first!.inputs[7]).toBe(second!.inputs[7]);
  const rt = await runtime();
  const feeds = new Map([["x", wave([1, 4, 3, 3])]]);
  const answers = [];
  for (const config of [{}, { "session.x64quantprecision": "1" }]) {
    const session = await rt.openSession(model, { config });
    answers.push(floats((await session.run(feeds)).get("y")!));
    await session.release();
  }
  expect([...answers[1]!]).toEqual([...answers[0]!]);
});

it("does not merge what differs in an attribute, in operand order, or by chance", async () => {
  const model = twice((b, x) => {
    const s = b.node("Add", [b.node("Softmax", [x], { axis: 0 }), b.node("Softmax", [x], { axis: 1 })]);
    const p = b.node("Add", [b.node("Sub", [x, s]), b.node("Sub", [s, x])]);
    const noise = () => b.node("RandomNormal", [], { shape: [2, 3] });
    return b.node("Add", [p, b.node("Add", [noise(), noise()])]);
  })();
  const before = ops(model).length;
  await apply(model, [mergeDuplicates]);
  expect(ops(model)).toHaveLength(before);
});

it("keeps both of two equal graph outputs", async () => {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("x", "f32", [2, 3]);
  b.output(b.node("Relu", [x]), "p", f32).output(b.node("Relu", [x]), "q", f32);
  const model = b.build();
  await apply(model, [mergeDuplicates], [removeDead]);
  expect(model.graph.outputs.map((o) => model.graph.value(o).name)).toEqual(["p", "q"]);
});

it("removes what no output needs, but never graph inputs", async () => {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("x", "f32", [2, 3]);
  b.input("unused", "f32", [1]);
  b.node("Exp", [b.node("Relu", [x])]);
  b.constant(f32Tensor([1]), "orphan");
  const [y] = b.multi("Dropout", [x], 2);
  b.output(y!, "y", f32);
  const model = b.build();
  await apply(model, [removeDead]);
  expect(ops(model)).toEqual(["Dropout"]);
  expect([...model.graph.nodes()][0]!.outputs).toHaveLength(1);
  expect(model.graph.inputs).toHaveLength(2);
  expect([...model.graph.values()].some((v) => v.name === "orphan")).toBe(false);
});

it("stores equal weights once and tells different ones with a common beginning apart", async () => {
  const make = twice((b, x) => {
    const w = (last: number) =>
      b.constant(
        f32Tensor(
          Float32Array.from({ length: 300 }, (_, i) => (i === 299 ? last : 1)),
          [3, 100],
        ),
        "w",
      );
    const sum = (v: ValueId) => b.node("ReduceSum", [v, b.constant(i64Tensor([1]))]);
    const products = [w(1), w(1), w(2)].map((v) => sum(b.node("MatMul", [x, v])));
    return b.node("Concat", products, { axis: 1 });
  });
  const model = make();
  const decisions = await apply(model, [dedupeWeights]);
  expect(decisions.map((d) => [d.rule, d.bytesBefore])).toEqual([["equal-bytes", 1200]]);
  expect([...model.graph.values()].filter((v) => v.init?.dims.length === 2)).toHaveLength(2);
  expect(await difference(make(), model, { x: wave([2, 3]) })).toBe(0);
});

const refAlpha: Attr = { kind: "ref", name: "alpha", type: 1 };

it("inlines functions with attribute parameters, defaults and nesting", async () => {
  const make = (): Model => {
    const b = new ModelBuilder({ opset: 17, domains: { local: 1 } });
    b.func(
      "local",
      "leaky",
      (f) => {
        const v = f.inputOf("v", null);
        f.output(f.node("LeakyRelu", [v], { alpha: refAlpha }), "w");
      },
      { defaults: new Map<string, Attr>([["alpha", { kind: "float", value: 0.5 }]]) },
    );
    b.func(
      "local",
      "both",
      (f) => {
        const v = f.inputOf("v", null);
        const def = f.node("leaky", [v], {}, { domain: "local" });
        f.output(f.node("leaky", [def], { alpha: { kind: "float", value: 0.25 } }, { domain: "local" }), "w");
      },
      {
        opsets: new Map([
          ["", 17],
          ["local", 1],
        ]),
      },
    );
    const x = b.input("x", "f32", [2, 3]);
    const once = b.node("both", [x], {}, { domain: "local" });
    b.output(b.node("both", [once], {}, { domain: "local" }), "y", f32);
    return b.build();
  };
  const model = make();
  await apply(model, [inlineFunctions], [removeDead]);
  expect(ops(model)).toEqual(["LeakyRelu", "LeakyRelu", "LeakyRelu", "LeakyRelu"]);
  expect(model.functions).toEqual([]);
  expect(await difference(make(), model, { x: wave([2, 3]) })).toBe(0);
  const out = await (await runtime()).evaluator.run(model, new Map([["x", wave([2, 3])]]));
  expect(floats(out.get("y")!).some((v) => v < 0)).toBe(true);
});
