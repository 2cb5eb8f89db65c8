import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import type { Model, ValueId } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import {
  type Choice,
  plan,
  type QuantizeWeightsOptions,
  type Shared,
  shared,
} from "../../../src/passes/quantize/plan.ts";
import { quantizeWeights } from "../../../src/passes/quantize/quantize-weights.ts";
import { portionsOf, stagesOf } from "../../../src/passes/quantize/stages.ts";
import { weight } from "./layered.ts";

/** A chain of four layers, the second level being two side by side; the last level reads the weight of the first. */
function chain(): Model {
  const b = new ModelBuilder({ opset: 21 });
  const w = b.constant(weight([64, 64]), "w");
  const layer = (x: ValueId, name: string, value: ValueId = b.constant(weight([64, 64]))): ValueId =>
    b.node("Relu", [b.node("MatMul", [x, value], {}, { name })]);
  const a = layer(b.input("x", "f32", [8, 64]), "a", w);
  const [p, q] = [layer(a, "b1"), layer(a, "b2")];
  const c = layer(b.node("Add", [p, q]), "c");
  return b.output(layer(c, "d", w), "y", { kind: "tensor", dtype: "f32", shape: [8, 64] }).build();
}

function weightsOf(model: Model, assign: Record<string, Choice> = {}): Shared[] {
  const properties = quantizeWeights.options["properties"] as Record<string, { default: unknown }>;
  const defaults = Object.fromEntries(Object.entries(properties).map(([k, v]) => [k, v.default]));
  const o = { ...defaults, format: "w4", edges: "none", sensitive: "none", assign };
  const ctx = { model, target: null, shapes: () => inferShapes(model), decide: () => {} };
  return shared(model.graph, plan(model.graph, o as unknown as QuantizeWeightsOptions, ctx), ctx);
}

const names = (stages: readonly (readonly Shared[])[]): string[][] =>
  stages.map((s) => s.map((x) => x.uses.map((u) => u.layer.node.name).join("+")));

describe("stages of weights", () => {
  it("follow the network, layers of one level together, a shared weight with its first layer", () => {
    const model = chain();
    const all = weightsOf(model);
    expect(names(stagesOf(model.graph, all, 0))).toEqual([["a+d", "b1", "b2", "c"]]);
    expect(names(stagesOf(model.graph, all, 1))).toEqual([["a+d"], ["b1", "b2", "c"]]);
    expect(names(stagesOf(model.graph, all, 9))).toEqual([["a+d"], ["b1", "b2"], ["c"]]);
  });

  it("start with what does not become integers", () => {
    const model = chain();
    const all = weightsOf(model, { c: "f16" });
    expect(names(stagesOf(model.graph, all, 9))).toEqual([
      ["c", "a+d"],
      ["b1", "b2"],
    ]);
  });

  it("are cut where their sums would take too much, never below one weight", () => {
    const all = weightsOf(chain());
    const each = 2 * 8 * 64 * 64;
    expect(names(portionsOf(all, 2 * each))).toEqual([
      ["a+d", "b1"],
      ["b2", "c"],
    ]);
    expect(names(portionsOf(all, 1))).toEqual([["a+d"], ["b1"], ["b2"], ["c"]]);
    expect(names(portionsOf(all))).toEqual([["a+d", "b1", "b2", "c"]]);
  });
});
