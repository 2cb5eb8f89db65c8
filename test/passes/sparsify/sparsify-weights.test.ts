import { describe, expect, it } from "vitest";
import { denseFrom, floats } from "../../../src/calibrate/index.ts";
import type { Statistics } from "../../../src/calibrate/statistics/types.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import { intsAttr, type Model } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { encodeModel } from "../../../src/ir/onnx/index.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import type { Decision, Pass } from "../../../src/passes/pass.ts";
import { weightLayers } from "../../../src/passes/quantize/layers.ts";
import type { QuantizeWeightsOptions } from "../../../src/passes/quantize/plan.ts";
import { quantizeWeights } from "../../../src/passes/quantize/quantize-weights.ts";
import { runPass } from "../../../src/passes/runner.ts";
import type { SparsifyWeightsOptions } from "../../../src/passes/sparsify/options.ts";
import { sparsifyWeights } from "../../../src/passes/sparsify/sparsify-weights.ts";
import { sparseBytes } from "../../../src/passes/sparsify/storage.ts";
import { createRuntime } from "../../../src/runtime/index.ts";
import { target } from "../../../src/targets/index.ts";
import { runtime } from "../harness.ts";
import { feedsOf, LAYERS, type Layered, modelOf, weight } from "../quantize/layered.ts";
import { statisticsOver } from "../quantize/statistics.ts";

function defaultsOf<T>(pass: Pass<T>): T {
  const properties = pass.options["properties"] as Record<string, { default: unknown }>;
  return Object.fromEntries(Object.entries(properties).map(([k, v]) => [k, v.default])) as T;
}

const sparsifying = (o: Partial<SparsifyWeightsOptions>): SparsifyWeightsOptions => ({
  ...defaultsOf(sparsifyWeights),
  guards: false,
  minElements: 1,
  ...o,
});
const quantizing = (o: Partial<QuantizeWeightsOptions>): QuantizeWeightsOptions => ({
  ...defaultsOf(quantizeWeights),
  format: "w4",
  edges: "none",
  sensitive: "none",
  ...o,
});

/** Runs a pass with statistics over the feeds, or without any. */
async function run<T>(
  model: Model,
  pass: Pass<T>,
  options: T,
  feeds: readonly Map<string, Dense>[] | null,
): Promise<readonly Decision[]> {
  const rt = await runtime();
  const cpu = target("cpu-x64");
  const ctx = { model, target: cpu, shapes: () => inferShapes(model) };
  const request = feeds === null ? null : pass.wantsStatistics!(model.graph, options, ctx);
  const statistics: Statistics | null =
    request === null || feeds === null ? null : await statisticsOver(model, request, feeds, rt);
  const report = await runPass(model, pass as unknown as Pass, options, {
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

async function outputs(model: Model, feeds: readonly Map<string, Dense>[]): Promise<Float32Array> {
  const session = await (await runtime()).openSession(model, { optimize: "disable" });
  const parts: number[] = [];
  for (const f of feeds) parts.push(...floats((await session.run(f)).get("y")!));
  await session.release();
  return Float32Array.from(parts);
}

/** Power of the output over that of the error; about the mean of each channel where `centred`. */
function ratio(
  y: Float32Array,
  z: Float32Array,
  shape: readonly number[],
  axis: number,
  centred: boolean,
): number {
  const channels = shape[axis]!;
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const of = (i: number): number => Math.floor(i / inner) % channels;
  const mean = new Float64Array(channels);
  if (centred) for (const [i, v] of y.entries()) mean[of(i)]! += (v * channels) / y.length;
  let [signal, noise] = [0, 0];
  for (const [i, v] of y.entries()) {
    signal += (v - mean[of(i)]!) ** 2;
    noise += (v - z[i]!) ** 2;
  }
  return signal / noise;
}

async function weightOf(
  model: Model,
): Promise<{ values: Float32Array; layer: ReturnType<typeof weightLayers>[0] }> {
  const layer = weightLayers(model.graph, inferShapes(model))[0]!;
  const bytes = await (await runtime()).reader.read(layer.tensor);
  return { values: floats({ dtype: layer.tensor.dtype, dims: layer.tensor.dims, bytes }), layer };
}

/** The same layer without a bias: the prediction then counts the mean as well. */
const bare: Record<string, Layered> = { MatMul: LAYERS["MatMul"]!, "Conv, 1×1": LAYERS["Conv, 1×1"]! };

const cases = Object.keys(LAYERS).flatMap((layer) =>
  (
    [
      { method: "obs" },
      { method: "obs", repair: "feedback", actOrder: false },
      { method: "obs", pattern: "2:4" },
      { method: "magnitude", pattern: "4:8" },
      { method: "wanda", pattern: "1x4" },
      { method: "obs", pattern: "16x1", ratio: 0.3 },
    ] as Partial<SparsifyWeightsOptions>[]
  ).map((options) => ({ layer, options, text: JSON.stringify(options) })),
);

describe("zeros with a repair", () => {
  it.each(cases)("$layer, $text: the layer is off by as much as predicted", async ({ layer, options }) => {
    const c = LAYERS[layer]!;
    const model = modelOf(c);
    const before = cloneModel(model);
    const feeds = feedsOf(c.dims);
    const decisions = await run(model, sparsifyWeights, sparsifying(options), feeds);
    const shape = inferShapes(before).staticShape(before.graph.outputs[0]!)!;
    const outs = (await weightOf(before)).layer;
    const fits = options.pattern !== "16x1" || outs.tensor.dims[outs.role.outAxis]! % 16 === 0;
    const line = decisions.find((d) => d.node === "layer")!;
    if (!fits) {
      expect(line).toMatchObject({ kind: "skipped", rule: "pattern", why: expect.stringMatching(/outputs/) });
      return;
    }
    expect(line.rule).toBe(`${options.method}-${options.pattern ?? "unstructured"}`);
    const predicted = 10 ** (line.error!.value / 10);
    const [y, z] = [await outputs(before, feeds), await outputs(model, feeds)];
    expect(Math.abs(predicted / ratio(y, z, shape, c.axis, c.bias) - 1)).toBeLessThan(1e-3);
    const { values } = await weightOf(model);
    const zeros = values.filter((v) => v === 0).length / values.length;
    expect(line.to).toBe(`f32, ${(100 * zeros).toFixed(1)} % zeros`);
    expect(zeros).toBeGreaterThan((options.ratio ?? 0.5) - 0.05);
  });

  it("lies along the input channels of every operator, tap by tap", async () => {
    for (const name of Object.keys(LAYERS)) {
      const model = modelOf(LAYERS[name]!);
      await run(model, sparsifyWeights, sparsifying({ pattern: "2:4" }), feedsOf(LAYERS[name]!.dims));
      const { values, layer } = await weightOf(model);
      const { dims } = layer.tensor;
      const stride = dims.slice(layer.role.inAxis + 1).reduce((a, b) => a * b, 1);
      const channels = dims[layer.role.inAxis]!;
      for (let i = 0; i < values.length; i++) {
        if ((Math.floor(i / stride) % channels) % 4 !== 0) continue;
        const group = [0, 1, 2, 3].map((k) => values[i + k * stride]);
        expect(group.filter((v) => v === 0).length).toBe(2);
      }
    }
  });

  it("beats what needs less: magnitude, wanda, then the sweep, then least squares", async () => {
    for (const [name, c] of Object.entries(bare)) {
      // Channels of different sizes, which is what Wanda looks at.
      const inner = c.dims.slice(name === "MatMul" ? 3 : 2).reduce((a, b) => a * b, 1);
      const feeds = feedsOf(c.dims).map((f) => {
        const x = floats(f.get("x")!).map((v, i) => v * (1 + ((Math.floor(i / inner) % 64) % 5)));
        return new Map([["x", denseFrom("f32", c.dims, x)]]);
      });
      const found: number[] = [];
      for (const o of [
        { method: "magnitude", repair: "none" },
        { method: "wanda", repair: "none" },
        { method: "obs", repair: "feedback" },
        { method: "obs", repair: "least-squares" },
      ] as const) {
        const model = modelOf(c);
        const before = cloneModel(model);
        await run(model, sparsifyWeights, sparsifying(o), feeds);
        const shape = inferShapes(before).staticShape(before.graph.outputs[0]!)!;
        const r = ratio(await outputs(before, feeds), await outputs(model, feeds), shape, c.axis, false);
        found.push(10 * Math.log10(r));
      }
      const [magnitude, wanda, feedback, least] = found as [number, number, number, number];
      expect(wanda, name).toBeGreaterThan(magnitude);
      expect(feedback, name).toBeGreaterThan(wanda);
      expect(least, name).toBeGreaterThan(feedback);
    }
  });

  it("without statistics falls back to magnitudes and says so; magnitudes alone ask for none", async () => {
    const c = LAYERS["Gemm"]!;
    const [blind, plain] = [modelOf(c), modelOf(c)];
    const said = await run(blind, sparsifyWeights, sparsifying({}), null);
    expect(said.find((d) => d.rule === "method")).toMatchObject({
      kind: "downgraded",
      node: "layer",
      why: expect.stringMatching(/sampled/),
    });
    const silent = await run(
      plain,
      sparsifyWeights,
      sparsifying({ method: "magnitude", repair: "none" }),
      null,
    );
    expect(silent.filter((d) => d.kind === "downgraded")).toEqual([]);
    const { reader } = await runtime();
    expect(await encodeModel(blind, reader)).toEqual(await encodeModel(plain, reader));
    const ctx = { model: plain, target: null, shapes: () => inferShapes(plain) };
    const asks = (o: Partial<SparsifyWeightsOptions>) =>
      sparsifyWeights.wantsStatistics!(plain.graph, sparsifying(o), ctx);
    expect(asks({ method: "magnitude", repair: "none" })).toBeNull();
    expect(asks({ method: "magnitude" })?.grams.length).toBe(1);
  });

  it("tells what zeros would take stored otherwise, and who skips them", async () => {
    const tensor = f32Tensor(new Float32Array(1024), [32, 32]);
    expect(sparseBytes([{ tensor, kept: 256 }])).toEqual({ dense: 4096, coordinate: 3072, bitmask: 1152 });
    const model = modelOf(LAYERS["MatMul"]!);
    const said = await run(model, sparsifyWeights, sparsifying({}), null);
    const line = said.find((d) => d.rule === "storage")!;
    expect(line.why).toContain("12288 bytes; sparse_initializer would take 18432");
    expect(line.why).toContain(target("cpu-x64").sparsity.note);
    expect(line.bytesAfter).toBe(line.bytesBefore);
  });

  it("keeps first and last layers dense unless told otherwise", async () => {
    const b = new ModelBuilder({ opset: 21 });
    let x = b.input("x", "f32", [1, 16, 8, 8]);
    for (const name of ["first", "second", "middle", "last"])
      x = b.node("Conv", [x, b.constant(weight([16, 16, 3, 3]))], { pads: intsAttr([1, 1, 1, 1]) }, { name });
    const model = b.output(x, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
    const lifted = cloneModel(model);
    const said = await run(model, sparsifyWeights, sparsifying({ guards: true }), null);
    expect(said.filter((d) => d.rule.startsWith("magnitude")).map((d) => d.node)).toEqual(["middle"]);
    expect(said.find((d) => d.rule === "guard-edge")).toMatchObject({ kind: "skipped", count: 3 });
    const all = await run(lifted, sparsifyWeights, sparsifying({}), null);
    expect(all.filter((d) => d.rule.startsWith("magnitude")).length).toBe(4);
    expect(all.find((d) => d.rule === "guards")).toMatchObject({ kind: "forced" });
  });

  it("gives the same bytes on any number of threads", async () => {
    const bytes: Uint8Array[] = [];
    for (const workers of [0, 2]) {
      const model = modelOf(LAYERS["Conv"]!);
      await run(model, sparsifyWeights, sparsifying({ score: false }), feedsOf(LAYERS["Conv"]!.dims));
      const rt = await createRuntime({ workers });
      bytes.push(await encodeModel(model, rt.reader));
      await rt.close();
    }
    expect(bytes[1]).toEqual(bytes[0]);
  });
});

describe("zeros and integers", () => {
  it.each(["MatMul", "Gemm", "Conv"])(
    "%s: fitted together they are off by as much as predicted",
    async (name) => {
      const c = LAYERS[name]!;
      const model = modelOf(c);
      const before = cloneModel(model);
      const feeds = feedsOf(c.dims);
      const o = quantizing({ method: "gptq", sparse: { pattern: "2:4" } });
      const line = (await run(model, quantizeWeights, o, feeds)).find((d) => d.node === "layer")!;
      expect(line.to).toBe("w4, 2:4 zeros");
      const shape = inferShapes(before).staticShape(before.graph.outputs[0]!)!;
      const measured = ratio(
        await outputs(before, feeds),
        await outputs(model, feeds),
        shape,
        c.axis,
        c.bias,
      );
      expect(Math.abs(10 ** (line.error!.value / 10) / measured - 1)).toBeLessThan(1e-3);
    },
  );

  it("fitted together they beat pruning first and rounding after", async () => {
    const c = LAYERS["MatMul"]!;
    const feeds = feedsOf(c.dims);
    const error = async (model: Model): Promise<number> => {
      const shape = inferShapes(modelOf(c)).staticShape(modelOf(c).graph.outputs[0]!)!;
      const r = ratio(await outputs(modelOf(c), feeds), await outputs(model, feeds), shape, c.axis, false);
      return 10 * Math.log10(r);
    };
    const joint = modelOf(c);
    await run(
      joint,
      quantizeWeights,
      quantizing({ method: "gptq", sparse: { pattern: "unstructured" } }),
      feeds,
    );
    const apart = modelOf(c);
    await run(apart, sparsifyWeights, sparsifying({}), feeds);
    await run(apart, quantizeWeights, quantizing({ method: "rtn" }), feeds);
    expect(await error(joint)).toBeGreaterThan(await error(apart));
  });

  it("refuses methods and branches that would fill the zeros", async () => {
    for (const o of [{ method: "rtn" }, { method: "gptq", lowRank: 4 }] as const)
      await expect(
        run(
          modelOf(LAYERS["Gemm"]!),
          quantizeWeights,
          quantizing({ ...o, sparse: { pattern: "2:4" } }),
          null,
        ),
      ).rejects.toMatchObject({ code: "SPARSE_CONFLICT" });
  });

  it("without statistics drops the smallest and rounds the rest; what does not fit stays dense, aloud", async () => {
    const model = modelOf(LAYERS["Gemm"]!);
    const o = quantizing({ method: "gptq", format: "w8", sparse: { pattern: "unstructured", ratio: 0.75 } });
    const said = await run(model, quantizeWeights, o, null);
    expect(said.find((d) => d.rule === "weight-method")).toMatchObject({ to: "rtn, zeros by magnitude" });
    const odd: Layered = {
      ...LAYERS["MatMul"]!,
      dims: [4, 66],
      make: (b, x) => b.node("MatMul", [x, b.constant(weight([66, 48]))], {}, { name: "layer" }),
    };
    const left = await run(
      modelOf(odd),
      quantizeWeights,
      quantizing({ method: "gptq", sparse: { pattern: "2:4" } }),
      null,
    );
    expect(left.find((d) => d.rule === "sparse")).toMatchObject({ kind: "skipped", to: "dense" });
  });
});
