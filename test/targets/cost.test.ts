import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../src/ir/build.ts";
import { inferShapes } from "../../src/ir/infer.ts";
import { nodeCost } from "../../src/ir/ops/index.ts";
import { f32Tensor } from "../../src/ir/tensor.ts";
import { CPU_RATES, costKind, cpuCost } from "../../src/targets/cost/cpu.ts";

function model(batch: number | string) {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("x", "f32", [batch, 64, 32, 32]);
  const w = b.constant(f32Tensor(new Float32Array(64 * 64 * 9), [64, 64, 3, 3]));
  const conv = b.node("Conv", [x, w], { pads: [1, 1, 1, 1] }, { name: "conv" });
  const moved = b.node(
    "Transpose",
    [b.node("Relu", [conv], {}, { name: "relu" })],
    { perm: [0, 2, 3, 1] },
    { name: "move" },
  );
  const flat = b.node("Flatten", [moved], {}, { name: "view" });
  const mean = b.node("ReduceMean", [flat], { axes: [1] }, { name: "mean" });
  return b.output(mean, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

describe("cpuCost", () => {
  it("tells kinds of work apart", () => {
    const m = model(1);
    const shapes = inferShapes(m);
    const kinds = [...m.graph.nodes()].map((n) => [n.name, costKind(n, nodeCost(n, shapes)!, shapes)]);
    expect(kinds).toEqual([
      ["conv", "product"],
      ["relu", "pointwise"],
      ["move", "move"],
      ["view", "view"],
      ["mean", "statistics"],
    ]);
  });

  it("is overhead plus the longer of arithmetic and memory", () => {
    const m = model(1);
    const cost = cpuCost(m);
    const byName = new Map([...m.graph.nodes()].map((n) => [n.name, cost.nodes.get(n.id)!]));
    const flops = 2 * 64 * 64 * 9 * 32 * 32;
    expect(byName.get("conv")).toBeCloseTo(CPU_RATES.overhead + flops / CPU_RATES.product, 6);
    const bytes = 2 * 64 * 32 * 32 * 4;
    expect(byName.get("move")).toBeCloseTo(CPU_RATES.overhead + bytes / CPU_RATES.bandwidth, 8);
    expect(byName.get("view")).toBe(CPU_RATES.overhead);
    expect(cost.seconds).toBeCloseTo(
      [...byName.values()].reduce((a, b) => a + b, 0),
      12,
    );
  });

  it("takes symbolic lengths from bindings, and counts nothing for nodes that stay open", () => {
    const open = cpuCost(model("n"));
    expect(open.open).toHaveLength(5);
    expect(open.seconds).toBe(0);
    const [one, four] = [
      cpuCost(model("n"), { bindings: { n: 1 } }),
      cpuCost(model("n"), { bindings: { n: 4 } }),
    ];
    expect(one.open).toEqual([]);
    expect(four.seconds / one.seconds).toBeGreaterThan(3);
  });
});
