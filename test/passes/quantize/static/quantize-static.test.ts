import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { fixture } from "../../../../fixtures/build/index.ts";
import type { Model } from "../../../../src/ir/graph.ts";
import { encodeModel } from "../../../../src/ir/onnx/index.ts";
import { verifyModel } from "../../../../src/ir/verify.ts";
import type { Decision } from "../../../../src/passes/pass.ts";
import { quantizeStatic } from "../../../../src/passes/quantize/static/quantize-static.ts";
import { optimizedOps } from "../../../../src/runtime/optimized.ts";
import { ops, runtime } from "../../harness.ts";
import { type Options, outputsOn, prepared, quantize, quantizedFixture, sqnr } from "./static.ts";

const MATMUL = "com.microsoft:MatMulIntegerToFloat";

const applied = (decisions: readonly Decision[], rule: string): Decision[] =>
  decisions.filter((d) => d.kind === "applied" && d.rule === rule);

async function digest(model: Model): Promise<string> {
  return createHash("sha256")
    .update(await encodeModel(model, (await runtime()).reader))
    .digest("hex");
}

const count = (model: Model, op: string): number => ops(model).filter((o) => o === op).length;

const VARIANTS: Options[] = [
  {},
  { time: "constant" },
  { activations: "tensor" },
  { activations: "source" },
  { smooth: "off" },
  { correctBias: false },
  { saturation: "seven-bit" },
  { guards: false },
];

const cases = ["tiny-unet", "tiny-dit"].flatMap((name) =>
  VARIANTS.map((options) => ({ name, options, text: JSON.stringify(options) })),
);

describe("quantize-static", () => {
  it.each(cases)("$name, $text: runs as planned, optimised and not", async ({ name, options }) => {
    const { before, model, feeds, decisions } = await quantizedFixture(name, options);
    expect(verifyModel(model).filter((d) => d.severity === "error")).toEqual([]);
    const [convs, matmuls] = [applied(decisions, "integer-conv"), applied(decisions, "integer-matmul")];
    expect(convs.length + matmuls.length).toBeGreaterThan(5);

    // What was decided is in the graph, and in the graph that onnxruntime runs: nothing is left float unsaid.
    const written = [count(model, "QLinearConv"), count(model, MATMUL)];
    expect(written[0]).toBe(convs.length);
    expect(written[1]).toBeGreaterThanOrEqual(matmuls.length);
    const run = await optimizedOps(await runtime(), model);
    // Convolutions are moved to channels-last, an operator of the runtime's own.
    const convolutions = (run.get("QLinearConv") ?? 0) + (run.get("com.microsoft:QLinearConv") ?? 0);
    expect([convolutions, run.get(MATMUL) ?? 0]).toEqual(written);
    const floatConvs = [...before.graph.nodes()].filter((n) => n.op === "Conv").length - convs.length;
    const left = [...run].filter(([op]) => /(^|:)(Fused)?Conv$/.test(op)).reduce((n, [, c]) => n + c, 0);
    expect(left).toBe(floatConvs);
    const quantizes = (run.get("QuantizeLinear") ?? 0) + (run.get("DequantizeLinear") ?? 0);
    // The runtime may move a pair across a reshape or transpose, which takes another pair.
    expect(quantizes).toBeGreaterThanOrEqual(
      count(model, "QuantizeLinear") + count(model, "DequantizeLinear"),
    );

    const plain = await outputsOn(model, feeds, { optimize: "disable" });
    const fast = await outputsOn(model, feeds);
    expect(sqnr(plain, fast)).toBeGreaterThan(60);
    // Edges and the time path cost more than everything else: without guards only the declared bound holds.
    const bound = options.guards === false ? quantizeStatic.minSqnrDb! : 20;
    expect(sqnr(await outputsOn(before, feeds), fast)).toBeGreaterThan(bound);
  });

  it.each(["tiny-unet", "tiny-dit"])("%s: the same bytes every time", async (name) => {
    const [a, b] = [await quantizedFixture(name), await quantizedFixture(name)];
    expect(await digest(a.model)).toBe(await digest(b.model));
    expect(a.decisions).toEqual(b.decisions);
  });

  it("says so and changes nothing where there are no statistics", async () => {
    const model = await prepared(fixture("tiny-unet"));
    const before = await digest(model);
    const decisions = await quantize(model, {}, { statistics: null });
    expect(decisions).toEqual([
      expect.objectContaining({ kind: "downgraded", rule: "no-calibration", from: "a8w8", to: "f32" }),
    ]);
    expect(await digest(model)).toBe(before);
  });

  it("writes an even split behind a layer as one product per part", async () => {
    const { model, before } = await quantizedFixture("tiny-unet");
    expect(count(before, "Split")).toBeGreaterThan(0);
    const split = [...before.graph.nodes()].find((n) => n.op === "Split")!;
    const names = new Set([...model.graph.nodes()].map((n) => n.name));
    const parts = [...names].filter((n) => /\/[01]$/.test(n));
    expect(parts.length % 2).toBe(0);
    expect(parts.length).toBeGreaterThan(0);
    expect(names.has(split.name)).toBe(false);
  });

  it("keeps guarded layers in float by default and reports every one", async () => {
    for (const name of ["tiny-unet", "tiny-dit"]) {
      const { decisions } = await quantizedFixture(name);
      const rules = new Set(decisions.filter((d) => d.kind === "skipped").map((d) => d.rule));
      expect([...rules]).toEqual(expect.arrayContaining(["guard-edge", "guard-conditioning"]));
      for (const d of decisions) if (d.kind !== "applied") expect(d.why).toBeTruthy();
    }
  });
});
