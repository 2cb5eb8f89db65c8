import { describe, expect, it } from "vitest";
import { attrInt } from "../../../src/ir/graph.ts";
import { target } from "../../../src/targets/index.ts";
import { behind, built, FEEDS, named, numbers } from "./built.ts";
import { denoiser } from "./denoiser.ts";
import { outputsOn, sqnr } from "./quantized.ts";

const quantizers = (model: ReturnType<typeof denoiser>) =>
  [...model.graph.nodes()].filter((n) => n.op === "QuantizeLinear");

describe("Q and DQ around 0", () => {
  it("on inputs alone: signed, one scale to an activation, a scale per output, biases in float", async () => {
    const { model } = await built({}, target("tensorrt"));
    const { graph } = model;
    for (const [name, axis, outputs] of [
      ["conv", 0, 24],
      ["linear", 1, 48],
      ["back", 1, 16],
      ["gemm", 1, 32],
    ] as const) {
      const layer = named(model, name);
      const x = behind(model, layer, 0);
      expect([x.constant(1).dims, x.constant(2).dims, x.constant(2).dtype]).toEqual([[], [], "i8"]);
      expect(await numbers(x.constant(2))).toEqual([0]);
      const w = behind(model, layer, 1);
      expect([w.constant(0).dtype, w.constant(1).dims]).toEqual(["i8", [outputs]]);
      expect(attrInt(w.dq, "axis")).toBe(axis);
      for (const user of graph.users(layer.outputs[0]!))
        expect(graph.node(user)!.op).not.toBe("QuantizeLinear");
    }
    for (const name of ["conv", "gemm"])
      expect(graph.constant(named(model, name).inputs[2]!)!.dtype).toBe("f32");
    // One for each activation that layers read.
    expect(quantizers(model).length).toBe(4);
    const exact = await outputsOn(denoiser(), FEEDS);
    expect(sqnr(exact, await outputsOn(model, FEEDS))).toBeGreaterThan(20);
  });

  it("keep what reads and writes the grid within 1 level of the float graph", async () => {
    const [asymmetric, symmetric] = [await built({ time: "constant" }), await built({}, target("tensorrt"))];
    const exact = await outputsOn(denoiser(), FEEDS);
    const lost =
      sqnr(exact, await outputsOn(asymmetric.model, FEEDS)) -
      sqnr(exact, await outputsOn(symmetric.model, FEEDS));
    // A one-sided range wastes half of a symmetric grid, which is a bit; results are not rounded, which gains.
    expect(Math.abs(lost)).toBeLessThan(6.1);
  });

  it("powers of two: every scale, one to a weight, biases on the grid of the products", async () => {
    const { model } = await built({}, target("vitisai:xint8"));
    const scales: number[] = [];
    for (const n of model.graph.nodes())
      if (n.op === "QuantizeLinear" || n.op === "DequantizeLinear") {
        const scale = model.graph.constant(n.inputs[1]!)!;
        expect(scale.dims).toEqual([]);
        scales.push(...(await numbers(scale)));
        expect((await numbers(model.graph.constant(n.inputs[2]!)!)).every((z) => z === 0)).toBe(true);
      }
    for (const s of scales) expect(Math.log2(s)).toBe(Math.round(Math.log2(s)));
    for (const name of ["conv", "gemm"]) {
      const layer = named(model, name);
      const [x] = await numbers(behind(model, layer, 0).constant(1));
      const [w] = await numbers(behind(model, layer, 1).constant(1));
      expect(await numbers(behind(model, layer, 2).constant(1))).toEqual([x! * w!]);
    }
    const exact = await outputsOn(denoiser(), FEEDS);
    expect(sqnr(exact, await outputsOn(model, FEEDS))).toBeGreaterThan(15);
  });

  it("in 16 bits lose less than in 8", async () => {
    const exact = await outputsOn(denoiser(), FEEDS);
    const db = async (name: string): Promise<number> =>
      sqnr(exact, await outputsOn((await built({}, target(name))).model, FEEDS));
    expect(await db("vitisai:a16w8")).toBeGreaterThan((await db("vitisai:a8w8")) + 3);
    const { model } = await built({}, target("vitisai:a16w8"));
    expect(model.graph.constant(quantizers(model)[0]!.inputs[2]!)!.dtype).toBe("i16");
  });

  it.each(["tensorrt", "vitisai:xint8", "vitisai:a8w8"])(
    "%s: optimised sessions load and agree",
    async (name) => {
      const { model } = await built({}, target(name));
      const plain = await outputsOn(model, FEEDS);
      const optimised = await outputsOn(model, FEEDS, {
        optimize: "all",
        arithmetic: "reference",
      });
      expect(sqnr(plain, optimised)).toBeGreaterThan(60);
    },
  );
});
