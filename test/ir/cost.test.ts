import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../src/ir/build.ts";
import { graphCost } from "../../src/ir/cost.ts";
import { defineFact, factsOf, shapesFact } from "../../src/ir/facts.ts";
import { inferShapes } from "../../src/ir/infer.ts";
import { nodeCost, weightRole } from "../../src/ir/ops/index.ts";
import { PatchBuilder } from "../../src/ir/patch.ts";
import { f32Tensor, inlineTensor } from "../../src/ir/tensor.ts";

const zeros = (...dims: number[]) => f32Tensor(new Float32Array(dims.reduce((a, b) => a * b, 1)), dims);

describe("costs", () => {
  it("counts multiply-adds twice and every operand's bytes once", () => {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", ["n", 4, 8, 8]);
    const y = b.node("Conv", [x, b.constant(zeros(16, 4, 3, 3)), b.constant(zeros(16))], {
      pads: [1, 1, 1, 1],
    });
    b.output(b.node("Relu", [y]));
    const model = b.build();
    const [conv, relu] = [...model.graph.nodes()];
    const shapes = inferShapes(model);
    expect(nodeCost(conv!, shapes)).toBeNull();
    expect(nodeCost(conv!, shapes, { n: 2 })).toEqual({
      flops: 2 * (2 * 16 * 64) * (4 * 9),
      bytesRead: 4 * (2 * 4 * 64 + 16 * 4 * 9 + 16),
      bytesWritten: 4 * 2 * 16 * 64,
    });
    expect(nodeCost(relu!, shapes, { n: 1 })?.flops).toBe(16 * 64);
    const total = graphCost(model, { bindings: { n: 1 } });
    expect(total.flops).toBe(2 * 16 * 64 * 36 + 16 * 64);
    expect(total.weightBytes).toBe(4 * (16 * 36 + 16));
    expect(graphCost(model).open).toEqual([conv!.id, relu!.id]);
  });

  it.each<[string, string[], Record<string, number>, number]>([
    ["MatMul", ["3,5", "5,7"], {}, 2 * 3 * 7 * 5],
    ["Gemm", ["5,3", "5,7"], { transA: 1 }, 2 * 3 * 7 * 5],
    ["ConvTranspose", ["1,4,8", "4,6,3"], {}, 2 * 4 * 8 * 6 * 3],
    ["Softmax", ["2,8"], {}, 80],
    ["Transpose", ["2,8"], {}, 0],
    ["Identity", ["2,8"], {}, 0],
    ["Add", ["2,8", "8"], {}, 16],
  ])("%s of %j", (op, inputs, attrs, want) => {
    const b = new ModelBuilder();
    const ids = inputs.map((s, i) => b.input(`x${i}`, "f32", s.split(",").map(Number)));
    b.output(b.node(op, ids, attrs));
    expect(graphCost(b.build()).flops).toBe(want);
  });

  it("packs sub-byte constants", () => {
    const b = new ModelBuilder({ opset: 21 });
    const w = b.constant(inlineTensor("i4", [3], Uint8Array.of(1, 2)));
    const y = b.node("DequantizeLinear", [w, b.constant(zeros(1))]);
    b.output(y);
    const model = b.build();
    expect(graphCost(model)).toMatchObject({ bytesRead: 2 + 4, bytesWritten: 12, weightBytes: 6 });
  });
});

describe("weight roles", () => {
  it("name the axes of constant weights and nothing else", () => {
    const b = new ModelBuilder({ domains: { "com.microsoft": 1 } });
    const x = b.input("x", "f32", [1, 4, 8, 8]);
    const m = b.input("m", "f32", [2, 4]);
    b.output(b.node("Conv", [x, b.constant(zeros(6, 2, 3, 3)), b.constant(zeros(6))], { group: 2 }));
    b.output(b.node("ConvTranspose", [x, b.constant(zeros(4, 6, 3, 3))]));
    b.output(b.node("MatMul", [m, b.constant(zeros(4, 5))]));
    b.output(b.node("Gemm", [m, b.constant(zeros(5, 4)), b.constant(zeros(5))], { transB: 1 }));
    b.output(b.node("MatMul", [m, b.node("Transpose", [m])]));
    b.output(b.node("Relu", [m]));
    const { graph } = b.build();
    const roles = [...graph.nodes()].map((n) => weightRole(graph, null, n));
    expect(roles[0]).toEqual({
      input: 1,
      outAxis: 0,
      inAxis: 1,
      reduceAxes: [1, 2, 3],
      activation: 0,
      bias: 2,
      groups: 2,
    });
    expect(roles[1]).toMatchObject({ outAxis: 1, inAxis: 0, reduceAxes: [0, 2, 3], bias: null });
    expect(roles[2]).toMatchObject({ outAxis: 1, inAxis: 0, reduceAxes: [0] });
    expect(roles[3]).toMatchObject({ outAxis: 0, inAxis: 1, reduceAxes: [1], bias: 2 });
    expect(roles.slice(4)).toEqual([null, null, null]);
  });
});

describe("facts", () => {
  it("are kept until a patch changes the model, subgraphs included", () => {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", ["n", 4]);
    const flag = b.input("flag", "bool", []);
    const inner = b.subgraph("t", (g) => g.output(g.node("Neg", [x])));
    const other = b.subgraph("e", (g) => g.output(g.node("Abs", [x])));
    const y = b.node("If", [flag], { then_branch: inner, else_branch: other });
    b.output(y);
    const model = b.build();
    let computed = 0;
    const nodes = defineFact({ name: "nodes", compute: (m) => [++computed, m.graph.nodeCount] });
    const facts = factsOf(model);
    const before = facts.get(shapesFact);
    expect(facts.get(shapesFact)).toBe(before);
    expect(facts.get(nodes)).toEqual([1, 1]);
    expect(facts.get(nodes)).toEqual([1, 1]);

    const p = new PatchBuilder(model.graph, "test");
    const [relu] = p.node({ op: "Relu", inputs: [y] });
    p.redirect(y, relu);
    expect(() => p.apply()).toThrow(/loop|cyclic/);

    const q = new PatchBuilder(inner, "test");
    const [neg] = [...inner.nodes()];
    const [twice] = q.node({ op: "Exp", inputs: neg!.inputs });
    q.redirect(neg!.outputs[0]!, twice).remove(neg!.id);
    expect(q.apply()).toBe(true);
    expect(facts.get(shapesFact)).not.toBe(before);
    expect(facts.get(nodes)).toEqual([2, 1]);
  });
});
