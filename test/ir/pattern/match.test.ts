import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Model, Node, ValueId } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { constantOf, scalarAt } from "../../../src/ir/pattern/constant.ts";
import {
  any,
  chain,
  constant,
  each,
  hole,
  type MatchScope,
  made,
  match,
  matchValue,
  oneOf,
  op,
  optional,
} from "../../../src/ir/pattern/index.ts";
import { f32Tensor, i64Tensor } from "../../../src/ir/tensor.ts";

function scopeOf(model: Model): MatchScope {
  return { graph: model.graph, shapes: inferShapes(model) };
}

/** x, y → ((x + y) · 2) − x. */
function sample(): { model: Model; x: ValueId; y: ValueId; last: Node; scope: MatchScope } {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("x", "f32", [2, 3]);
  const y = b.input("y", "f32", [2, 3]);
  const two = b.constant(f32Tensor([2], []), "two");
  const out = b.node("Sub", [b.node("Mul", [two, b.node("Add", [x, y])]), x]);
  b.output(out);
  const model = b.build();
  return { model, x, y, last: model.graph.producer(out)!, scope: scopeOf(model) };
}

describe("match", () => {
  it("binds names, and a name used twice means one value", () => {
    const { scope, last, x, y } = sample();
    const m = match(
      scope,
      last,
      op("Sub", [op("Mul", [op("Add", [any("y"), any("x")]), constant("k")]), any("x")]),
    );
    if (!m.ok) throw new Error(m.why);
    expect([m.value("x"), m.value("y")]).toEqual([x, y]);
    expect(m.nodes.map((n) => n.op)).toEqual(["Sub", "Mul", "Add"]);
    expect(m.const("k")?.dims).toEqual([]);
  });

  it("does not swap the operands of ops that are not commutative", () => {
    const { scope, last } = sample();
    const m = match(scope, last, op("Sub", [any("x"), op("Mul", [any(), constant()])]));
    expect(m).toMatchObject({ ok: false, why: expect.stringContaining("not computed") });
  });

  it("says what was found at the deepest place", () => {
    const { scope, last, model } = sample();
    const m = match(scope, last, op("Sub", [op("Mul", [op("Div", [any(), any()]), constant()]), any()]));
    if (m.ok) throw new Error("matched");
    expect(m.why).toBe("Add found, expected Div");
    expect(model.graph.node(m.node).op).toBe("Add");
  });

  it("goes back when a later part fails", () => {
    const { scope, last, x } = sample();
    const either = oneOf(
      op("Mul", [each("seen"), each("seen")]),
      op("Mul", [op("Add", [any("a"), any("b")]), constant()]),
    );
    const m = match(scope, last, op("Sub", [either, any("b")]));
    if (!m.ok) throw new Error(m.why);
    // The first alternative matches too; its captures are what is left of it.
    expect(m.each("seen")).toHaveLength(2);
    const strict = match(
      scope,
      last,
      op("Sub", [op("Mul", [op("Add", [any("a"), any("b")]), constant()]), any("b")]),
    );
    if (!strict.ok) throw new Error(strict.why);
    expect(strict.value("b")).toBe(x);
  });

  it("walks a chain of steps in any order and stops at its end", () => {
    const b = new ModelBuilder({ opset: 17 });
    const x = b.input("x", "f32", [4]);
    const k = (v: number): ValueId => b.constant(f32Tensor([v], []));
    const out = b.node("Div", [b.node("Mul", [k(3), b.node("Exp", [x])]), k(5)]);
    b.output(out);
    const model = b.build();
    const steps = [op("Mul", [hole, each("by", () => null)]), op("Div", [hole, each("over")])];
    const m = matchValue(scopeOf(model), out, chain(steps, op("Exp", [any("x")])));
    if (!m.ok) throw new Error(m.why);
    expect(m.value("x")).toBe(x);
    expect([m.each("by").length, m.each("over").length]).toEqual([1, 1]);
    expect(matchValue(scopeOf(model), out, chain(steps, op("Exp", [any()]), 1)).ok).toBe(false);
  });

  it("looks through Identity, inference Dropout and casts that change nothing", () => {
    const b = new ModelBuilder({ opset: 17 });
    const x = b.input("x", "f32", [4]);
    const cast = b.node("Cast", [b.node("Identity", [b.node("Dropout", [b.node("Exp", [x])])])], { to: 1 });
    const wide = b.node("Cast", [b.node("Exp", [x])], { to: 11 });
    b.output(b.node("Neg", [cast], {}, { name: "same" }));
    b.output(b.node("Neg", [wide], {}, { name: "other" }));
    const model = b.build();
    const negs = [...model.graph.nodes()].filter((n) => n.op === "Neg");
    const pattern = op("Neg", [op("Exp", [any()])]);
    expect(negs.map((n) => match(scopeOf(model), n, pattern).ok)).toEqual([true, false]);
  });

  it("asks for recognised parts by the value they make", () => {
    const { model, x, y } = sample();
    const sum = [...model.graph.nodes()].find((n) => n.op === "Add")!.outputs[0]!;
    const parts = new Map([[sum, [{ kind: "sum", input: y, output: sum }]]]);
    const scope = { ...scopeOf(model), made: parts };
    const m = matchValue(scope, sum, made("sum", any("from"), "part"));
    if (!m.ok) throw new Error(m.why);
    expect(m.value("from")).toBe(y);
    expect(m.part("part")?.kind).toBe("sum");
    expect(matchValue(scope, x, made("sum", any())).ok).toBe(false);
  });

  it("refuses inputs the pattern does not mention and allows optional ones to be absent", () => {
    const b = new ModelBuilder({ opset: 17 });
    const x = b.input("x", "f32", [4]);
    const clip = b.node("Clip", [x, null, b.constant(f32Tensor([1], []))]);
    b.output(clip);
    const model = b.build();
    const node = model.graph.producer(clip)!;
    expect(match(scopeOf(model), node, op("Clip", [any()])).ok).toBe(false);
    expect(match(scopeOf(model), node, op("Clip", [any()], { rest: true })).ok).toBe(true);
    expect(match(scopeOf(model), node, op("Clip", [any(), optional(any()), constant()])).ok).toBe(true);
    expect(match(scopeOf(model), node, op("Clip", [any(), any(), constant()])).ok).toBe(false);
  });
});

describe("constants", () => {
  it("are followed through Constant nodes, casts and reshapes, with the shape the user sees", () => {
    const b = new ModelBuilder({ opset: 17 });
    const vector = b.constant(f32Tensor([1, 2, 3]), "v");
    const wide = b.node("Unsqueeze", [b.node("Identity", [vector]), b.constant(i64Tensor([1, 2]))]);
    const half = b.node("Cast", [wide], { to: 10 });
    const number = b.node("Constant", [], { value_float: 2.5 });
    b.output(b.node("Add", [half, b.node("Cast", [number], { to: 10 })]));
    const scope = scopeOf(b.build());
    expect(constantOf(scope, half)).toMatchObject({ dims: [3, 1, 1], dtype: "f16" });
    expect(constantOf(scope, half)?.tensor.dims).toEqual([3]);
    expect(scalarAt(scope, number)).toBe(2.5);
  });

  it("include scales computed from a head width", () => {
    const b = new ModelBuilder({ opset: 17 });
    const q = b.input("q", "f32", ["batch", 4, "tokens", 64]);
    const width = b.node("Slice", [
      b.node("Shape", [q]),
      b.constant(i64Tensor([-1])),
      b.constant(i64Tensor([9_223_372_036_854_775_807n])),
    ]);
    const root = b.node("Sqrt", [b.node("Cast", [width], { to: 1 })]);
    const scale = b.node("Sqrt", [b.node("Div", [b.constant(f32Tensor([1])), root])]);
    const unknown = b.node("Cast", [b.node("Gather", [b.node("Shape", [q]), b.constant(i64Tensor([0]))])], {
      to: 1,
    });
    b.output(b.node("Mul", [q, scale]));
    b.output(unknown);
    const scope = scopeOf(b.build());
    expect(scalarAt(scope, scale)).toBeCloseTo(64 ** -0.25, 6);
    expect(scalarAt(scope, unknown)).toBeNull();
  });
});
