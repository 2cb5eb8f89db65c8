import { describe, expect, it } from "vitest";
import { attrInt } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { convertFloat } from "../../../src/passes/convert/convert-float.ts";
import type { QuantizeStaticOptions } from "../../../src/passes/quantize/static/options.ts";
import { quantizeStatic } from "../../../src/passes/quantize/static/quantize-static.ts";
import { optimizedOps } from "../../../src/runtime/optimized.ts";
import { target } from "../../../src/targets/index.ts";
import type { TimeScales } from "../../../src/targets/target.ts";
import { run } from "../../targets/harness.ts";
import { ops, runtime } from "../harness.ts";
import { behind, built, FEEDS, named, numbers, rules } from "./built.ts";
import { CALLS, denoiser } from "./denoiser.ts";
import { outputsOn, quantize, sqnr } from "./quantized.ts";

const TIMES: readonly TimeScales[] = ["constant", "normalised", "gathered"];
const BITS = [8, 16] as const;

describe("Q and DQ", () => {
  it("stand around activations, weights, biases and results", async () => {
    const { model, decisions } = await built({});
    expect(rules(decisions, "applied")).toEqual([
      "qdq-conv conv",
      "qdq-matmul linear",
      "qdq-matmul back",
      "qdq-matmul gemm",
      "smooth linear",
    ]);
    const { graph } = model;
    for (const [name, axis, channels] of [
      ["conv", 0, 24],
      ["linear", 1, 48],
      ["back", 1, 16],
      ["gemm", 1, 32],
    ] as const) {
      const layer = named(model, name);
      const x = behind(model, layer, 0);
      expect(graph.producer(x.dq.inputs[0]!)?.op).toBe("QuantizeLinear");
      expect([x.constant(1).dims, x.constant(2).dims, x.constant(2).dtype]).toEqual([[], [], "u8"]);
      const w = behind(model, layer, 1);
      expect(attrInt(w.dq, "axis")).toBe(axis);
      expect([w.constant(0).dtype, w.constant(1).dims]).toEqual(["i8", [channels]]);
      expect((await numbers(w.constant(2))).every((z) => z === 0)).toBe(true);
      expect(graph.users(w.dq.outputs[0]!)).toEqual([layer.id]);
      const [after] = graph.users(layer.outputs[0]!);
      expect(graph.node(after!)?.op).toBe("QuantizeLinear");
    }
    const quantizers = [...graph.nodes()].filter((n) => n.op === "QuantizeLinear");
    expect(quantizers.length).toBe(8);
    expect(quantizers.some((n) => n.attrs.has("output_dtype"))).toBe(false);
  });

  it("give a bias the scale of the products it is added to, zero point 0", async () => {
    const { model } = await built({});
    for (const name of ["conv", "gemm"]) {
      const layer = named(model, name);
      const [x] = await numbers(behind(model, layer, 0).constant(1));
      const w = await numbers(behind(model, layer, 1).constant(1));
      const b = behind(model, layer, 2);
      expect([b.constant(0).dtype, attrInt(b.dq, "axis")]).toEqual(["i32", 0]);
      const scale = await numbers(b.constant(1));
      for (const [n, s] of scale.entries()) expect(Math.abs(s / (x! * w[n]!) - 1)).toBeLessThan(1e-6);
      expect((await numbers(b.constant(2))).every((z) => z === 0)).toBe(true);
    }
    expect(named(model, "linear").inputs.length).toBe(2);
  });

  it.each([
    [17, 8, ""],
    [17, 16, "com.microsoft"],
    [21, 16, ""],
  ] as const)("at opset %i in %i bits come from domain '%s'", async (opset, bits, domain) => {
    const { model } = await built({ bits }, null, denoiser(opset));
    const of = [...model.graph.nodes()].filter((n) => n.op === "QuantizeLinear");
    expect(new Set(of.map((n) => n.domain))).toEqual(new Set([domain]));
    const types = new Set(of.map((n) => model.graph.constant(n.inputs[2]!)!.dtype));
    expect(types).toEqual(new Set([bits === 8 ? "u8" : "u16"]));
    expect(model.opsets.has("com.microsoft")).toBe(domain !== "");
    const exact = await outputsOn(denoiser(opset), FEEDS);
    expect(sqnr(exact, await outputsOn(model, FEEDS))).toBeGreaterThan(25);
  });

  it.each(TIMES)("fuse into integer kernels on the CPU with %s scales", async (time) => {
    const { model } = await built({ time });
    const found = await optimizedOps(await runtime(), model, { optimize: "all" });
    expect(found.get("com.microsoft:QLinearConv")).toBe(1);
    expect(found.get("QLinearMatMul")).toBe(2);
    expect(found.get("com.microsoft:QGemm")).toBe(1);
    for (const op of ["MatMul", "Gemm", "Conv"]) expect(found.get(op), op).toBeUndefined();
    expect(found.get("QuantizeLinear")).toBe(4);
  });

  it.each(TIMES.flatMap((time) => BITS.map((bits) => ({ time, bits }))))(
    "optimised and unoptimised sessions agree: $time scales, $bits bits",
    async ({ time, bits }) => {
      const { model } = await built({ time, bits });
      const plain = await outputsOn(model, FEEDS);
      expect(sqnr(plain, await outputsOn(model, FEEDS, { optimize: "all" }))).toBeGreaterThan(70);
    },
  );
});

describe("time", () => {
  it("is followed by looked-up scales and looked-up factors alike, and all ways agree in 16 bits", async () => {
    const exact = await outputsOn(denoiser(), FEEDS);
    const outputs = new Map<string, Float32Array[]>();
    for (const bits of BITS)
      for (const time of TIMES)
        outputs.set(`${time} ${bits}`, await outputsOn((await built({ time, bits })).model, FEEDS));
    const last = (key: string): number => sqnr([exact.at(-1)!], [outputs.get(key)!.at(-1)!]);
    // The last call has the smallest range: one scale for all steps leaves it few levels.
    expect(last("gathered 8")).toBeGreaterThan(last("constant 8") + 10);
    expect(last("normalised 8")).toBeGreaterThan(last("constant 8") + 10);
    const [gathered, normalised] = [outputs.get("gathered 16")!, outputs.get("normalised 16")!];
    expect(sqnr(gathered, normalised)).toBeGreaterThan(65);
    // What is left between them is the bias correction, which weighs the steps otherwise.
    expect(sqnr(gathered, outputs.get("constant 16")!)).toBeGreaterThan(38);
  });

  it("normalised: constant scales, one division before and one product behind each moving layer", async () => {
    const { model, decisions } = await built({ time: "normalised" });
    for (const n of model.graph.nodes())
      if (n.op === "QuantizeLinear") expect(model.graph.constant(n.inputs[1]!)?.dims).toEqual([]);
    const timed = [...model.graph.nodes()].filter((n) => n.name.endsWith("/time"));
    expect(timed.map((n) => n.op)).toEqual(Array.from({ length: 8 }, () => "Mul"));
    expect(rules(decisions, "applied")).toContain("time-table");
  });

  it("a model without a moving range gets constants and int32 biases whatever is asked", async () => {
    const calls = CALLS.map((c) => ({ ...c, feeds: CALLS[0]!.feeds }));
    const model = denoiser();
    await quantize(model, quantizeStatic, {
      options: { minElements: 64, time: "gathered" },
      target: null,
      calls,
    });
    expect(ops(model)).not.toContain("Gather");
    expect(behind(model, named(model, "conv"), 2).constant(0).dtype).toBe("i32");
  });
});

describe("targets", () => {
  it("without integer arithmetic: nothing is asked for, nothing is changed, and the report says so", async () => {
    const webgpu = target("webgpu");
    const model = denoiser();
    const before = ops(model);
    const shapes = inferShapes(model);
    const options = { minElements: 64 } as QuantizeStaticOptions;
    const asked = quantizeStatic.wantsStatistics!(model.graph, options, {
      model,
      target: webgpu,
      shapes: () => shapes,
    });
    expect(asked).toBeNull();
    expect(quantizeStatic.wantsOracle!(options, webgpu)).toBe(false);
    const { decisions } = await built({}, webgpu, model);
    expect(decisions).toMatchObject([{ kind: "downgraded", rule: "no-integer", why: webgpu.integerWhy }]);
    expect(ops(model)).toEqual(before);
  });

  it("qnn-htp: 16-bit activations, linear weights in uint8 with one scale, convolutions per channel", async () => {
    const { model, decisions } = await built({ time: "gathered" }, target("qnn-htp"));
    expect(decisions).toContainEqual(
      expect.objectContaining({
        kind: "downgraded",
        rule: "time-scales",
        from: "gathered",
        to: "constant",
      }),
    );
    expect(decisions.filter((d) => d.to === "a16w8").length).toBe(4);
    const conv = behind(model, named(model, "conv"), 1);
    expect([conv.constant(0).dtype, conv.constant(1).dims]).toEqual(["i8", [24]]);
    for (const name of ["linear", "back", "gemm"]) {
      const w = behind(model, named(model, name), 1);
      expect([w.constant(0).dtype, w.constant(1).dims, w.dq.attrs.size]).toEqual(["u8", [], 0]);
      expect(await numbers(w.constant(2))).toEqual([128]);
    }
    expect(behind(model, named(model, "gemm"), 2).constant(1).dims).toEqual([]);
    const exact = await outputsOn(denoiser(), FEEDS);
    const plain = await outputsOn(model, FEEDS);
    expect(sqnr(exact, plain)).toBeGreaterThan(30);
    expect(sqnr(plain, await outputsOn(model, FEEDS, { optimize: "all" }))).toBeGreaterThan(70);
  });

  it("qnn-htp: half precision around integer layers leaves their groups and scales alone", async () => {
    const qnn = target("qnn-htp");
    const { model } = await built({}, qnn);
    const full = await outputsOn(model, FEEDS);
    const before = ops(model).filter((op) => op !== "Cast");
    await run(model, convertFloat, { to: "f16" }, { target: qnn });
    expect(ops(model).filter((op) => op !== "Cast")).toEqual(before);
    const shapes = inferShapes(model);
    expect(shapes.dtype(named(model, "conv").outputs[0]!)).toBe("f32");
    expect(shapes.dtype(named(model, "first").outputs[0]!)).toBe("f16");
    for (const name of ["conv", "linear", "back", "gemm"]) behind(model, named(model, name), 1);
    expect(sqnr(full, await outputsOn(model, FEEDS))).toBeGreaterThan(45);
  });

  it("cpu-x64: operators on integers unless 16 bits are forced; a factor becomes a looked-up scale", async () => {
    const cpu = target("cpu-x64");
    const plain = await built({ faster: false }, cpu);
    expect(ops(plain.model)).toContain("QLinearConv");
    expect(rules(plain.decisions, "downgraded")).toEqual([]);
    const other = await built({ faster: false, time: "normalised" }, cpu);
    expect(rules(other.decisions, "downgraded")).toEqual(["time-scales"]);
    expect(await outputsOn(other.model, FEEDS)).toEqual(await outputsOn(plain.model, FEEDS));
    const wide = await built({ bits: 16 }, cpu);
    expect(rules(wide.decisions, "forced")).toEqual(["wide-activations"]);
    expect(ops(wide.model).filter((op) => op === "QuantizeLinear").length).toBe(8);
  });
});
