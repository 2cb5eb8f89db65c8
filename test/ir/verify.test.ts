import { describe, expect, it } from "vitest";
import { ModelBuilder, type ModelOptions } from "../../src/ir/build.ts";
import { Graph, type Model, type Node, type Value, type ValueId } from "../../src/ir/graph.ts";
import { i64Tensor } from "../../src/ir/tensor.ts";
import { tensorType } from "../../src/ir/types.ts";
import { verifyModel } from "../../src/ir/verify.ts";

/** x -> Relu -> a -> Neg -> y, with a constant. */
function sound(options: ModelOptions = {}): { model: Model; relu: Node; neg: Node } {
  const b = new ModelBuilder(options);
  const x = b.input("x", "f32", ["n", 2]);
  const a = b.node("Relu", [x], {}, { name: "relu" });
  const y = b.node("Neg", [a], {}, { name: "neg" });
  b.constant(i64Tensor([1]), "c");
  b.output(y, "y");
  const model = b.build();
  const [relu, neg] = [...model.graph.nodes()];
  return { model, relu: relu!, neg: neg! };
}

/** The model with its main graph rebuilt from changed parts. */
function rebuilt(model: Model, change: { nodes?: Node[]; values?: Value[]; outputs?: ValueId[] }): Model {
  const g = model.graph;
  return {
    ...model,
    graph: new Graph({
      ids: g.ids,
      name: g.name,
      nodes: change.nodes ?? g.nodes(),
      values: change.values ?? g.values(),
      inputs: g.inputs,
      outputs: change.outputs ?? g.outputs,
    }),
  };
}

const codes = (model: Model): string[] => verifyModel(model).map((d) => d.code);
const problems = (model: Model): string =>
  verifyModel(model)
    .map((d) => d.message)
    .join("\n");

describe("verifyModel", () => {
  it("finds nothing wrong with a sound model", () => {
    expect(verifyModel(sound().model)).toEqual([]);
  });

  it("wants every read defined before it", () => {
    const { model, relu, neg } = sound();
    expect(problems(rebuilt(model, { nodes: [neg, relu] }))).toMatch(/a later node makes/);
    const values = [...model.graph.values()].map((v) =>
      v.producer === relu.id ? { ...v, producer: null } : v,
    );
    expect(problems(rebuilt(model, { nodes: [neg], values }))).toMatch(/nothing makes/);
  });

  it("wants one producer per value, and values for all outputs", () => {
    const { model, relu, neg } = sound();
    const twice: Node = { ...neg, id: model.graph.ids.node(), name: "again" };
    expect(codes(rebuilt(model, { nodes: [relu, neg, twice] }))).toContain("GRAPH_INVALID");
    const ghost = { ...neg, outputs: [9999 as ValueId] };
    expect(problems(rebuilt(model, { nodes: [relu, ghost] }))).toMatch(/has no value/);
    expect(problems(rebuilt(model, { outputs: [9999 as ValueId] }))).toMatch(/made by nothing/);
  });

  it("wants distinct value names, also against enclosing graphs", () => {
    const { model } = sound();
    const values = [...model.graph.values()].map((v) => (v.name === "c" ? { ...v, name: "x" } : v));
    expect(problems(rebuilt(model, { values }))).toMatch(/"x" is given to two values/);
    const b = new ModelBuilder();
    const flag = b.input("flag", "bool", []);
    const branch = b.subgraph("t", (g) =>
      g.output(g.node("Constant", [], { value_int: 1 }, { outputNames: ["flag"] })),
    );
    const other = b.subgraph("e", (g) => g.output(g.node("Constant", [], { value_int: 1 })));
    b.output(b.node("If", [flag], { then_branch: branch, else_branch: other }));
    expect(problems(b.build())).toMatch(/"flag" is given to two values/);
  });

  it("wants constants of the size their type says", () => {
    const { model } = sound();
    const values = [...model.graph.values()].map((v) =>
      v.init === null ? v : { ...v, init: { ...v.init, dims: [3] } },
    );
    expect(problems(rebuilt(model, { values }))).toMatch(/holds 8 bytes, its type needs 24/);
  });

  it("wants the domain imported and the operator known to the opset", () => {
    const b = new ModelBuilder({ opset: 13 });
    const x = b.input("x", "f32", [2]);
    b.output(b.node("Gelu", [x])).output(b.node("Gelu", [x], {}, { domain: "com.microsoft" }));
    expect(codes(b.build())).toEqual(["OP_TOO_NEW", "OPSET_MISSING"]);
  });

  it("wants as many operands as the operator takes", () => {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", [2]);
    b.output(b.node("Add", [x])).output(b.multi("Relu", [x], 2)[0]!);
    const found = verifyModel(b.build());
    expect(found.map((d) => d.code)).toEqual(["OP_ARITY", "OP_ARITY"]);
    expect(found[0]!.details).toMatchObject({ op: "Add", what: "inputs", found: 1, min: 2, max: 2 });
    expect(found[1]!.details).toMatchObject({ op: "Relu", what: "outputs", found: 2 });
  });

  it("does not judge unknown operators and model functions", () => {
    const b = new ModelBuilder({ domains: { local: 1 } });
    b.func("local", "Add", (f) => f.output(f.node("Relu", [f.inputOf("a", null)])));
    const x = b.input("x", "f32", [2]);
    b.output(b.node("Add", [x], {}, { domain: "local" })).output(
      b.node("Whatever", [x], {}, { domain: "local" }),
    );
    expect(verifyModel(b.build())).toEqual([]);
  });

  it("checks function bodies and finds functions that call themselves", () => {
    const b = new ModelBuilder({ domains: { local: 1 } });
    b.func("local", "A", (f) => f.output(f.node("B", [f.inputOf("a", null)], {}, { domain: "local" })), {
      opsets: new Map([
        ["", 17],
        ["local", 1],
      ]),
    });
    b.func("local", "B", (f) => f.output(f.node("A", [f.inputOf("a", null)], {}, { domain: "local" })), {
      opsets: new Map([
        ["", 17],
        ["local", 1],
      ]),
    });
    b.output(b.node("A", [b.input("x", "f32", [2])], {}, { domain: "local" }));
    expect(problems(b.build())).toMatch(/calls itself/);
  });

  it("compares types, unless told not to", () => {
    const b = new ModelBuilder();
    const y = b.node("Relu", [b.input("x", "f32", [2])]);
    b.declare(y, tensorType("f32", [3])).output(y);
    const model = b.build();
    expect(codes(model)).toEqual(["TYPE_CONFLICT"]);
    expect(verifyModel(model, { types: false })).toEqual([]);
  });
});
