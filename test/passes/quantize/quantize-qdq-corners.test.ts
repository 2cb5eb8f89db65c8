import { describe, expect, it } from "vitest";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Model, Node, ValueId } from "../../../src/ir/graph.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { quantizeStatic } from "../../../src/passes/quantize/static/quantize-static.ts";
import { optimizedOps } from "../../../src/runtime/optimized.ts";
import { runtime } from "../harness.ts";
import { behind, built, FEEDS, named, numbers, rules } from "./built.ts";
import { CALLS, denoiser } from "./denoiser.ts";
import { outputsOn, quantize, sqnr } from "./quantized.ts";

const BITS = [8, 16] as const;

/** Two convolutions in a row between edges. */
function chain(weights: (channel: number) => number): Model {
  const b = new ModelBuilder({ opset: 21 });
  const wave = (n: number): Float32Array => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 1.3));
  const conv = (x: ValueId, o: number, c: number, name: string, w = wave(o * c)): ValueId =>
    b.node("Conv", [x, b.constant(f32Tensor(w, [o, c, 1, 1])), b.constant(f32Tensor(wave(o)))], {}, { name });
  const sample = b.input("sample", "f32", [2, 4, 8, 8]);
  b.input("timestep", "i64", [1]);
  const first = b.node("Relu", [conv(sample, 16, 4, "first")]);
  const w = Float32Array.from({ length: 256 }, (_, i) => Math.cos(i * 0.7) * weights(Math.floor(i / 16)));
  const two = conv(conv(first, 16, 16, "one", w), 16, 16, "two");
  return b.output(conv(b.node("Relu", [two]), 4, 16, "last"), "out", tensorType("f32", [2, 4, 8, 8])).build();
}

describe("corner cases", () => {
  it("a result that another layer reads has one grid", async () => {
    const { model } = await built(
      { match: "one|two" },
      null,
      chain(() => 1),
    );
    const { graph } = model;
    const scaleOf = (q: Node): Promise<number[]> => numbers(graph.constant(q.inputs[1]!)!);
    const after = graph.node(graph.users(named(model, "one").outputs[0]!)[0]!)!;
    const before = graph.producer(behind(model, named(model, "two"), 0).dq.inputs[0]!)!;
    expect(after.id).not.toBe(before.id);
    expect(await scaleOf(after)).toEqual(await scaleOf(before));
    const found = await optimizedOps(await runtime(), model, { optimize: "all" });
    expect(found.get("com.microsoft:QLinearConv")).toBe(2);
    expect(found.get("QuantizeLinear")).toBe(1);
  });

  it.each(BITS)(
    "a bias far above the grid of a dead channel's products still fits, %i bits",
    async (bits) => {
      const dead = chain((c) => (c === 3 ? 1e-14 : 1));
      const exact = await outputsOn(dead, FEEDS);
      const { model } = await built({ bits }, null, cloneModel(dead));
      const bias = behind(model, named(model, "one"), 2);
      const q = await numbers(bias.constant(0));
      expect(q.every((v) => Math.abs(v) < 2 ** 31 - 1)).toBe(true);
      const scale = await numbers(bias.constant(1));
      const given = Math.sin(3 * 1.3);
      expect(Math.abs(q[3]! * scale[3]! - given)).toBeLessThan(1e-3);
      expect(sqnr(exact, await outputsOn(model, FEEDS))).toBeGreaterThan(30);
    },
  );

  it("a layer whose result was not observed stays float and is named", async () => {
    const model = denoiser();
    const blind = {
      ...quantizeStatic,
      wantsStatistics: (...args: Parameters<NonNullable<typeof quantizeStatic.wantsStatistics>>) => {
        const r = quantizeStatic.wantsStatistics!(...args)!;
        const hidden = model.graph.value(named(model, "back").outputs[0]!).name;
        return { ...r, values: r.values.filter((v) => v.name !== hidden) };
      },
    };
    const decisions = await quantize(model, blind, {
      options: { minElements: 64 },
      target: null,
      calls: CALLS,
    });
    expect(rules(decisions, "skipped")).toContain("no-statistics back");
    expect(rules(decisions, "applied")).not.toContain("qdq-matmul back");
    expect(model.graph.producer(named(model, "back").inputs[0]!)?.op).not.toBe("DequantizeLinear");
  });
});
