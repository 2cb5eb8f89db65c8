import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { denseFrom } from "../../../src/calibrate/index.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { attrInt, type Model } from "../../../src/ir/graph.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { tensorType } from "../../../src/ir/types.ts";
import { miniValue } from "../../../src/numeric/minifloat.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { quantizeStatic } from "../../../src/passes/quantize/static/quantize-static.ts";
import { checkModel } from "../../../src/targets/check/check.ts";
import { resolveTargets, target, targets } from "../../../src/targets/index.ts";
import { runtime } from "../harness.ts";
import { behind, built, FEEDS, named, numbers, rules } from "./built.ts";
import { denoiser } from "./denoiser.ts";
import { outputsOn, quantize, sqnr } from "./quantized.ts";

const FLOAT8 = { numbers: "float8" } as const;
const LAYERS = [
  ["conv", 0, 24],
  ["linear", 1, 48],
  ["back", 1, 16],
  ["gemm", 1, 32],
] as const;

/** Every finite number of E4M3FN, by its code. */
const NUMBERS = Array.from({ length: 256 }, (_, code) => ({
  code,
  value: miniValue("f8e4m3fn", code),
})).filter((n) => Number.isFinite(n.value));

/** The nearest of all numbers, of two equally near ones the one with an even code. */
function nearest(x: number): number {
  let best = NUMBERS[0]!;
  for (const n of NUMBERS) {
    const [d, least] = [Math.abs(n.value - x), Math.abs(best.value - x)];
    if (d < least || (d === least && n.code % 2 < best.code % 2)) best = n;
  }
  return best.value;
}

/** Types of everything that is quantized. */
function types(model: Model): Set<string> {
  const found = new Set<string>();
  for (const n of model.graph.nodes())
    if (n.op === "QuantizeLinear" || n.op === "DequantizeLinear")
      found.add(model.graph.constant(n.inputs[2])!.dtype);
  return found;
}

describe("fp8", () => {
  it("on inputs alone: one scale to an activation, one per output to a weight, zero points 0, biases in float", async () => {
    const { model, decisions } = await built(FLOAT8, target("tensorrt"));
    const { graph } = model;
    expect(types(model)).toEqual(new Set(["f8e4m3fn"]));
    expect(decisions.filter((d) => d.to === "float8").map((d) => d.node)).toEqual(LAYERS.map(([n]) => n));
    for (const [name, axis, outputs] of LAYERS) {
      const layer = named(model, name);
      const x = behind(model, layer, 0);
      expect([x.constant(1).dims, x.constant(2).dims]).toEqual([[], []]);
      expect(await numbers(x.constant(2))).toEqual([0]);
      const w = behind(model, layer, 1);
      expect([w.constant(0).dtype, w.constant(1).dims]).toEqual(["f8e4m3fn", [outputs]]);
      expect(attrInt(w.dq, "axis")).toBe(axis);
      // The largest weight of some output is the largest number there is.
      expect(Math.max(...(await numbers(w.constant(0))).map(Math.abs))).toBe(448);
      for (const user of graph.users(layer.outputs[0]!))
        expect(graph.node(user)!.op).not.toBe("QuantizeLinear");
    }
    for (const name of ["conv", "gemm"])
      expect(graph.constant(named(model, name).inputs[2]!)!.dtype).toBe("f32");
    const exact = await outputsOn(denoiser(), FEEDS);
    expect(sqnr(exact, await outputsOn(model, FEEDS))).toBeGreaterThan(20);
  });

  it("computes what a plain loop over the numbers of E4M3FN computes", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 1000 }),
        fc.integer({ min: -12, max: 12 }),
        async (seed, e) => {
          const [rows, k, n] = [5, 16, 6];
          const rng = createRng(seed, "float8");
          const draw = (size: number): Float32Array =>
            Float32Array.from({ length: size }, () => rng.normal() * 2 ** e * 2 ** (3 * rng.normal()));
          const [w, b, x] = [draw(k * n), draw(n), draw(rows * k)];
          const graph = new ModelBuilder({ opset: 21 });
          const input = graph.input("x", "f32", [rows, k]);
          const y = graph.node("Gemm", [
            input,
            graph.constant(f32Tensor(w, [k, n])),
            graph.constant(f32Tensor(b)),
          ]);
          const model = graph.output(y, "y", tensorType("f32", [rows, n])).build();
          const feeds = new Map([["x", denseFrom("f32", [rows, k], x)]]);
          await quantize(model, quantizeStatic, {
            options: { ...FLOAT8, minElements: 1, guards: false, correctBias: false },
            target: target("tensorrt"),
            calls: [{ timestep: 0, feeds }],
          });
          const [plain] = await outputsOn(model, [feeds]);
          const [optimised] = await outputsOn(model, [feeds], { optimize: "all", arithmetic: "reference" });
          const range = 1.05 * Math.max(...x.map(Math.abs));
          const sx = Math.fround(range / 448);
          const sw = Array.from({ length: n }, (_, j) =>
            Math.fround(Math.max(...Array.from({ length: k }, (_, i) => Math.abs(w[i * n + j]!))) / 448),
          );
          for (let r = 0; r < rows; r++)
            for (let j = 0; j < n; j++) {
              let [sum, size] = [b[j]!, Math.abs(b[j]!)];
              for (let i = 0; i < k; i++) {
                const p =
                  nearest(Math.fround(x[r * k + i]! / sx)) *
                  sx *
                  nearest(Math.fround(w[i * n + j]! / sw[j]!)) *
                  sw[j]!;
                sum += p;
                size += Math.abs(p);
              }
              for (const found of [plain!, optimised!])
                expect(Math.abs(found[r * n + j]! - sum)).toBeLessThanOrEqual(1e-6 * size);
            }
        },
      ),
      { numRuns: 20 },
    );
  });

  it("optimised sessions load and agree, with one graph for each bucket of timesteps too", async () => {
    const exact = await outputsOn(denoiser(), FEEDS);
    for (const time of [null, "graphs"] as const) {
      const { model } = await built({ ...FLOAT8, time }, target("tensorrt"));
      const plain = await outputsOn(model, FEEDS);
      expect(sqnr(exact, plain)).toBeGreaterThan(20);
      const optimised = (optimize: "extended" | "all") =>
        outputsOn(model, FEEDS, { optimize, arithmetic: "reference" });
      expect(await optimised("extended")).toEqual(plain);
      // Convolutions in another layout sum in another order, and what lies between two numbers may go to the other one.
      const other = await optimised("all");
      const differ = plain.flatMap((p, i) => [...p].filter((v, k) => Math.abs(v - other[i]![k]!) > 1e-5));
      expect(differ.length).toBeLessThan(0.01 * plain.reduce((n, p) => n + p.length, 0));
    }
  });

  it("stands in the layers that take it, and nothing else is quantized beside it", async () => {
    const { model, decisions } = await built(FLOAT8, target("tensorrt-rtx"));
    expect(types(model)).toEqual(new Set(["f8e4m3fn"]));
    expect(rules(decisions, "skipped")).toContain("number-family conv");
    expect(model.graph.producer(named(model, "conv").inputs[1]!)).toBeUndefined();
    for (const name of ["linear", "back", "gemm"])
      expect(behind(model, named(model, name), 1).constant(0).dtype).toBe("f8e4m3fn");
  });

  it.each(["tensorrt", "tensorrt-rtx"])("%s: its checker takes every layer as quantized", async (id) => {
    const { model } = await built(FLOAT8, target(id));
    const { reader } = await runtime();
    const [check] = await checkModel(model, resolveTargets([id]), { reader });
    expect(check!.findings.filter((f) => f.severity !== "slow" || /TRT-[45]/.test(f.rule))).toEqual([]);
    const of = (name: string) => check!.nodes.find((n) => n.node.replace(/_\d+$/, "") === name)!;
    for (const name of ["linear", "back", "gemm"]) expect(of(name).verdict).toBe("quantized");
    expect(of("conv").verdict).toBe(id === "tensorrt" ? "quantized" : "float");
  });
});

describe("integers instead of fp8", () => {
  const others = targets.filter((t) => t.integer !== null && t.integer.float8 === undefined);
  it.each(others.map((t) => t.id))("%s: what integers would be, and a reason", async (id) => {
    const asked = await built({ ...FLOAT8, faster: false }, target(id));
    const plain = await built({ faster: false }, target(id));
    expect(asked.decisions).toContainEqual(
      expect.objectContaining({ kind: "downgraded", rule: "float8", from: "float8", to: "integer" }),
    );
    expect(await outputsOn(asked.model, FEEDS)).toEqual(await outputsOn(plain.model, FEEDS));
  });

  it("below opset 19 and where 16 bits are asked for", async () => {
    for (const [options, opset] of [
      [FLOAT8, 17],
      [{ ...FLOAT8, bits: 16 }, 21],
    ] as const) {
      const { model, decisions } = await built(options, target("tensorrt"), denoiser(opset));
      expect(rules(decisions, "downgraded")).toContain("float8");
      expect(types(model).has("f8e4m3fn")).toBe(false);
    }
  });

  it("never beside it: a graph that has one family gets nothing of the other", async () => {
    for (const [first, second] of [
      [{ match: "linear" }, FLOAT8],
      [{ ...FLOAT8, match: "linear" }, {}],
    ] as const) {
      const { model } = await built(first, target("tensorrt"));
      const before = types(model);
      const { decisions } = await built(second, target("tensorrt"), model);
      expect(rules(decisions, "skipped")).toEqual(["number-family"]);
      expect(types(model)).toEqual(before);
    }
  });
});
