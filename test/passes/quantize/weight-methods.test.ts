import { describe, expect, it } from "vitest";
import { denseFrom, floats } from "../../../src/calibrate/index.ts";
import type { Statistics } from "../../../src/calibrate/statistics/types.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import { elementCount } from "../../../src/ir/dtype.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import { intsAttr, type Model, type ValueId } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { encodeModel } from "../../../src/ir/onnx/index.ts";
import { f32Tensor, type Tensor } from "../../../src/ir/tensor.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import type { Decision, Pass } from "../../../src/passes/pass.ts";
import type { QuantizeWeightsOptions } from "../../../src/passes/quantize/plan.ts";
import { quantizeWeights } from "../../../src/passes/quantize/quantize-weights.ts";
import { runPass } from "../../../src/passes/runner.ts";
import { createRuntime } from "../../../src/runtime/index.ts";
import { target } from "../../../src/targets/index.ts";
import { ops, runtime } from "../harness.ts";
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

function normal(dims: readonly number[], seed: number): Float32Array {
  const rng = createRng(seed);
  return Float32Array.from({ length: elementCount(dims) }, () => rng.normal());
}
const weight = (dims: readonly number[]): Tensor =>
  f32Tensor(
    normal(dims, 1).map((v) => v * 0.1),
    dims,
  );

interface Layered {
  readonly dims: readonly number[];
  /** Whether a bias takes up the mean of the error. */
  readonly bias: boolean;
  /** Axis of the output channels. */
  readonly axis: number;
  make(b: ModelBuilder, x: ValueId): ValueId;
}

const LAYERS: Readonly<Record<string, Layered>> = {
  MatMul: {
    dims: [3, 40, 64],
    bias: false,
    axis: 2,
    make: (b, x) => b.node("MatMul", [x, b.constant(weight([64, 48]))], {}, { name: "layer" }),
  },
  "MatMul with a ragged K and an Add behind": {
    dims: [120, 72],
    bias: true,
    axis: 1,
    make: (b, x) =>
      b.node("Add", [
        b.node("MatMul", [x, b.constant(weight([72, 32]))], {}, { name: "layer" }),
        b.constant(f32Tensor(normal([32], 4), [32])),
      ]),
  },
  Gemm: {
    dims: [120, 64],
    bias: true,
    axis: 1,
    make: (b, x) =>
      b.node(
        "Gemm",
        [x, b.constant(weight([48, 64])), b.constant(f32Tensor(normal([48], 4), [48]))],
        { transB: 1 },
        { name: "layer" },
      ),
  },
  Conv: {
    dims: [2, 16, 9, 8],
    bias: true,
    axis: 1,
    make: (b, x) =>
      b.node(
        "Conv",
        [x, b.constant(weight([24, 16, 3, 3])), b.constant(f32Tensor(normal([24], 4), [24]))],
        { pads: intsAttr([1, 0, 1, 2]), strides: intsAttr([2, 1]) },
        { name: "layer" },
      ),
  },
  "Conv, 1×1": {
    dims: [2, 64, 7, 7],
    bias: false,
    axis: 1,
    make: (b, x) => b.node("Conv", [x, b.constant(weight([32, 64, 1, 1]))], {}, { name: "layer" }),
  },
};

function modelOf({ dims, make }: Layered): Model {
  const b = new ModelBuilder({ opset: 21 });
  const x = b.input("x", "f32", [...dims]);
  return b.output(make(b, x), "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

/** Inputs with a mean and correlated neighbours. */
function feedsOf(dims: readonly number[]): Map<string, Dense>[] {
  return [11, 12, 13].map((seed) => {
    const x = normal(dims, seed);
    for (let i = 1; i < x.length; i++) x[i] = 0.6 * x[i - 1]! + 0.7 * x[i]! + 0.3;
    return new Map([["x", denseFrom("f32", dims, x)]]);
  });
}

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
  if (layer.bias) y.forEach((v, i) => (mean[of(i)]! += (v * channels) / y.length));
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
