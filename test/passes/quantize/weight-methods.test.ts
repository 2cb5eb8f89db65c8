import { describe, expect, it } from "vitest";
import { floats } from "../../../src/calibrate/index.ts";
import type { Statistics } from "../../../src/calibrate/statistics/types.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { encodeModel } from "../../../src/ir/onnx/index.ts";
import { tensorBytes } from "../../../src/ir/tensor.ts";
import { modelTensors } from "../../../src/ir/weights.ts";
import { foldConstants } from "../../../src/passes/clean/fold-constants.ts";
import { removeDead } from "../../../src/passes/clean/remove-dead.ts";
import type { Decision, Pass } from "../../../src/passes/pass.ts";
import type { QuantizeWeightsOptions } from "../../../src/passes/quantize/plan.ts";
import { quantizeWeights } from "../../../src/passes/quantize/quantize-weights.ts";
import { runPass } from "../../../src/passes/runner.ts";
import { createRuntime, optimizedOps } from "../../../src/runtime/index.ts";
import { target } from "../../../src/targets/index.ts";
import { apply, ops, runtime } from "../harness.ts";
import { feedsOf, LAYERS, type Layered, modelOf, weight } from "./layered.ts";
import { statisticsOver } from "./statistics.ts";

type Options = Partial<QuantizeWeightsOptions>;

const defaults = Object.fromEntries(
  Object.entries(quantizeWeights.options["properties"] as Record<string, { default: unknown }>).map(
    ([k, v]) => [k, v.default],
  ),
) as unknown as QuantizeWeightsOptions;

const complete = (o: Options): QuantizeWeightsOptions => ({
  ...defaults,
  format: "w4",
  edges: "none",
  sensitive: "none",
  ...o,
});

const cpu = target("cpu-x64");

async function statisticsFor(
  model: Model,
  options: Options,
  feeds: readonly Map<string, Dense>[],
): Promise<Statistics | null> {
  const ctx = { model, target: cpu, shapes: () => inferShapes(model) };
  const request = quantizeWeights.wantsStatistics!(model.graph, complete(options), ctx);
  return request === null ? null : await statisticsOver(model, request, feeds, await runtime());
}

async function quantize(
  model: Model,
  options: Options,
  statistics: Statistics | null,
): Promise<readonly Decision[]> {
  const rt = await runtime();
  const report = await runPass(model, quantizeWeights as unknown as Pass, complete(options), {
    evaluator: rt.evaluator,
    reader: rt.reader,
    target: cpu,
    seed: 0,
    ranges: null,
    statistics,
    trail: [],
  });
  return report!.decisions;
}

async function outputs(
  model: Model,
  feeds: readonly Map<string, Dense>[],
  optimize: "all" | "disable",
): Promise<Float32Array> {
  const session = await (await runtime()).openSession(model, { optimize });
  const parts: number[] = [];
  let dims: readonly number[] = [];
  for (const f of feeds) {
    const y = (await session.run(f)).get("y")!;
    dims = y.dims;
    parts.push(...floats(y));
  }
  await session.release();
  expect(dims.length).toBeGreaterThan(0);
  return Float32Array.from(parts);
}

/** 10·log10 of the output's power over the error's; per channel less its mean where the bias answers for that. */
function measured(y: Float32Array, z: Float32Array, layer: Layered, outDims: readonly number[]): number {
  const channels = outDims[layer.axis]!;
  const inner = outDims.slice(layer.axis + 1).reduce((a, b) => a * b, 1);
  const mean = new Float64Array(channels);
  const of = (i: number): number => Math.floor(i / inner) % channels;
  if (layer.bias) for (const [i, v] of y.entries()) mean[of(i)]! += (v * channels) / y.length;
  let [signal, noise] = [0, 0];
  for (const [i, v] of y.entries()) {
    signal += (v - mean[of(i)]!) ** 2;
    noise += (v - z[i]!) ** 2;
  }
  return 10 * Math.log10(signal / noise);
}

const cases = Object.keys(LAYERS).flatMap((layer) =>
  (
    [
      { method: "gptq" },
      { method: "gptq", actOrder: true, block: 16 },
      { method: "rounding" },
      { method: "rounding", symmetric: true },
      { method: "rounding", format: "w8" },
      { method: "rounding", lowRank: 4 },
      { method: "palette" },
      { method: "palette", codebookOutputs: 8 },
      { method: "palette", format: "w2", codebookInputs: 8 },
      { method: "palette", format: "w2", codebookOutputs: 16, codebookInputs: 16 },
    ] as Options[]
  ).map((options) => ({ layer, options, text: JSON.stringify(options) })),
);

describe("methods that know a layer's inputs", () => {
  it.each(cases)("$layer, $text: the layer is off by as much as predicted", async ({ layer, options }) => {
    const c = LAYERS[layer]!;
    const model = modelOf(c);
    const before = cloneModel(model);
    const feeds = feedsOf(c.dims);
    const decisions = await quantize(model, options, await statisticsFor(model, options, feeds));
    const line = decisions.find((d) => d.node === "layer")!;
    expect(line.rule).toContain(options.method);
    expect(decisions.filter((d) => d.kind === "downgraded")).toEqual([]);
    const [y, z] = [await outputs(before, feeds, "disable"), await outputs(model, feeds, "disable")];
    const dims = inferShapes(before).staticShape(before.graph.outputs[0]!)!;
    const ratio = 10 ** ((line.error!.value - measured(y, z, c, dims)) / 10);
    expect(Math.abs(ratio - 1)).toBeLessThan(1e-3);
    // Rounding of float32 sums apart, the optimised session runs the same layer.
    const fast = await outputs(model, feeds, "all");
    expect(Math.max(...fast.map((v, i) => Math.abs(v - z[i]!)))).toBeLessThan(2e-5);
  });

  it("each lowers the layer's error: rounding to nearest, GPTQ, learned rounding, a branch beside it", async () => {
    const c = LAYERS["Gemm"]!;
    const feeds = feedsOf(c.dims);
    const errors: number[] = [];
    for (const o of [
      { method: "rtn" },
      { method: "gptq", actOrder: true },
      { method: "rounding", actOrder: true },
      { method: "rounding", actOrder: true, lowRank: 8 },
    ] as Options[]) {
      const model = modelOf(c);
      const before = cloneModel(model);
      await quantize(model, o, await statisticsFor(model, { ...o, method: "gptq" }, feeds));
      const dims = inferShapes(before).staticShape(before.graph.outputs[0]!)!;
      errors.push(
        measured(await outputs(before, feeds, "disable"), await outputs(model, feeds, "disable"), c, dims),
      );
    }
    const [rtn, gptq, rounding, branch] = errors as [number, number, number, number];
    expect(gptq - rtn).toBeGreaterThan(1);
    expect(rounding - gptq).toBeGreaterThan(0.2);
    expect(branch - rounding).toBeGreaterThan(0.5);
  });

  it("without statistics falls back to rounding and says so; so do layers whose inputs cannot be laid out", async () => {
    const model = modelOf(LAYERS["Gemm"]!);
    const plain = modelOf(LAYERS["Gemm"]!);
    const decisions = await quantize(model, { method: "gptq" }, null);
    expect(decisions.find((d) => d.rule === "weight-method")).toMatchObject({
      kind: "downgraded",
      node: "layer",
      from: "gptq",
      to: "rtn",
      count: 1,
      why: expect.stringMatching(/sampled/),
    });
    await quantize(plain, {}, null);
    const rt = await runtime();
    expect(await encodeModel(model, rt.reader)).toEqual(await encodeModel(plain, rt.reader));

    const grouped: Layered = {
      ...LAYERS["Conv"]!,
      make: (b, x) => b.node("Conv", [x, b.constant(weight([64, 8, 3, 3]))], { group: 2 }, { name: "layer" }),
    };
    const feeds = feedsOf(grouped.dims);
    const m = modelOf(grouped);
    expect(await statisticsFor(m, { method: "gptq" }, feeds)).toBeNull();
    const other = await statisticsFor(modelOf(LAYERS["Gemm"]!), { method: "gptq" }, feedsOf([120, 64]));
    const said = await quantize(m, { method: "gptq" }, { ...other!, gram: () => undefined });
    expect(said.find((d) => d.rule === "weight-method")).toMatchObject({
      why: expect.stringMatching(/groups/),
    });
  });

  it("HQQ needs no statistics, and is refused on symmetric grids aloud", async () => {
    const model = modelOf(LAYERS["MatMul"]!);
    expect(await statisticsFor(model, { method: "hqq" }, [])).toBeNull();
    const decisions = await quantize(model, { method: "hqq" }, null);
    expect(decisions.find((d) => d.node === "layer")).toMatchObject({ rule: "w4-hqq-matmul-nbits" });
    const refused = await quantize(modelOf(LAYERS["MatMul"]!), { method: "hqq", symmetric: true }, null);
    expect(refused.find((d) => d.rule === "weight-method")).toMatchObject({
      why: expect.stringMatching(/zero points/),
    });
  });

  it("writes the branch as two small products where the weight stays packed, else adds it at load", async () => {
    const spelled = async (layer: string): Promise<string[]> => {
      const model = modelOf(LAYERS[layer]!);
      await quantize(model, { method: "rtn", lowRank: 2, symmetric: true }, null);
      return ops(model).filter((o) => o !== "Cast");
    };
    expect(await spelled("Gemm")).toEqual(["com.microsoft:MatMulNBits", "MatMul", "MatMul", "Add", "Add"]);
    expect(await spelled("Conv, 1×1")).toEqual(["Mul", "Reshape", "MatMul", "Reshape", "Add", "Conv"]);
  });

  it("stays small through the clean-up behind it", async () => {
    for (const o of [{ method: "rtn" }, { method: "rtn", lowRank: 2 }, { method: "palette" }] as Options[])
      for (const layer of ["Gemm", "Conv"]) {
        const c = LAYERS[layer]!;
        const model = modelOf(c);
        await quantize(model, o, await statisticsFor(model, o, feedsOf(c.dims)));
        await apply(model, [foldConstants], [removeDead]);
        const bytes = [...modelTensors(model)].reduce((n, t) => n + tensorBytes(t), 0);
        const elements = layer === "Gemm" ? 48 * 64 : 24 * 16 * 9;
        // Scales this few are widened by folding; the weight itself would take four bytes an element.
        expect(bytes).toBeLessThan(1.5 * elements);
      }
  });

  it("codebooks of bands and blocks are looked up when the model loads, and those that cost more than they save are not made", async () => {
    const c = LAYERS["Conv"]!;
    const feeds = feedsOf(c.dims);
    const o: Options = { method: "palette", codebookOutputs: 8, codebookInputs: 8 };
    const model = modelOf(c);
    const said = await quantize(model, o, await statisticsFor(model, o, feeds));
    expect(said.find((d) => d.rule === "palette")).toMatchObject({ why: cpu.palettes });
    expect(said.filter((d) => d.rule === "codebooks")).toEqual([]);
    expect(
      [...(await optimizedOps(await runtime(), model)).keys()].filter((op) => /Gather|Cast|Add|Mul/.test(op)),
    ).toEqual([]);
    const tiny: Options = { method: "palette", format: "w8", codebookOutputs: 1, codebookInputs: 1 };
    const other = modelOf(c);
    const refused = await quantize(other, tiny, await statisticsFor(other, tiny, feeds));
    expect(refused.find((d) => d.rule === "codebooks")).toMatchObject({ kind: "downgraded", node: "layer" });
    const line = refused.find((d) => d.rule.startsWith("w8-palette"))!;
    expect(line.bytesAfter!).toBeLessThan(line.bytesBefore!);
  });

  it("gives the same bytes on any number of threads", async () => {
    const c = LAYERS["Conv"]!;
    const bytes: Uint8Array[] = [];
    for (const workers of [0, 2]) {
      const model = modelOf(c);
      await quantize(
        model,
        { method: "rounding", lowRank: 2, score: false },
        await statisticsFor(model, { method: "rounding" }, feedsOf(c.dims)),
      );
      const rt = await createRuntime({ workers });
      bytes.push(await encodeModel(model, rt.reader));
      await rt.close();
    }
    expect(bytes[1]).toEqual(bytes[0]);
  });

  it("stores 2 bits in linear layers and convolutions", async () => {
    for (const layer of ["Gemm", "Conv"]) {
      const c = LAYERS[layer]!;
      const model = modelOf(c);
      const before = cloneModel(model);
      const feeds = feedsOf(c.dims);
      const o: Options = { format: "w2", method: "rounding", actOrder: true, block: 16 };
      const decisions = await quantize(model, o, await statisticsFor(model, o, feeds));
      const line = decisions.find((d) => d.node === "layer")!;
      expect(line.bytesAfter! / line.bytesBefore!).toBeLessThan(0.14);
      const dims = inferShapes(before).staticShape(before.graph.outputs[0]!)!;
      const found = measured(
        await outputs(before, feeds, "disable"),
        await outputs(model, feeds, "disable"),
        c,
        dims,
      );
      expect(Math.abs(10 ** ((line.error!.value - found) / 10) - 1)).toBeLessThan(1e-3);
      expect(found).toBeGreaterThan(8);
    }
  });
});
