import { describe, expect, it } from "vitest";
import { denseFrom, floats } from "../../../src/calibrate/dense.ts";
import type { GramStatistics, Statistics } from "../../../src/calibrate/statistics/types.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import { Graph, type Model } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { f32Tensor, inlineTensor, tensorBytes } from "../../../src/ir/tensor.ts";
import { createRng, gaussian } from "../../../src/numeric/rng.ts";
import type { PassContext } from "../../../src/passes/pass.ts";
import { candidatesOf } from "../../../src/passes/quantize/allocate/candidates.ts";
import { storedFloats } from "../../../src/passes/quantize/allocate/stored.ts";
import { correctedBias } from "../../../src/passes/quantize/layer-bias.ts";
import type { QuantizeWeightsOptions } from "../../../src/passes/quantize/plan.ts";
import { quantizeWeights } from "../../../src/passes/quantize/quantize-weights.ts";
import { target } from "../../../src/targets/index.ts";
import { runtime } from "../harness.ts";

const LAYERS = ["MatMul", "Gemm", "Gemm, transposed weight", "Conv"] as const;
type LayerName = (typeof LAYERS)[number];

/** One layer with a bias. */
function modelOf(name: LayerName): Model {
  const b = new ModelBuilder({ opset: 21 });
  const weights = (dims: number[]) =>
    b.constant(
      f32Tensor(
        gaussian(
          createRng(1, name),
          dims.reduce((x, y) => x * y, 1),
        ),
        dims,
      ),
      "weight",
    );
  const bias = b.constant(f32Tensor(gaussian(createRng(2, name), 24), [24]), "bias");
  const x = b.input("x", "f32", name === "Conv" ? [1, 32, 5, 5] : [40, 64]);
  const made = {
    MatMul: () => b.node("Add", [b.node("MatMul", [x, weights([64, 24])], {}, { name: "layer" }), bias]),
    Gemm: () => b.node("Gemm", [x, weights([64, 24]), bias], {}, { name: "layer" }),
    "Gemm, transposed weight": () =>
      b.node("Gemm", [x, weights([24, 64]), bias], { transB: 1 }, { name: "layer" }),
    Conv: () => b.node("Conv", [x, weights([24, 32, 3, 3]), bias], {}, { name: "layer" }),
  }[name]();
  return b.output(made, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

/** A Gram of correlated inputs whose mean is not zero. */
function statistics(size: number): Statistics {
  const rows = 200;
  const data = gaussian(createRng(3, "gram", size), rows * size).map(
    (v, i) => v + 0.4 + 0.3 * Math.sin(Math.floor(i / size)),
  );
  const sum = new Float64Array(size * size);
  const mean = new Float64Array(size);
  for (let r = 0; r < rows; r++)
    for (let i = 0; i < size; i++) {
      mean[i]! += data[r * size + i]! / rows;
      for (let j = 0; j < size; j++) sum[i * size + j]! += (data[r * size + i]! * data[r * size + j]!) / rows;
    }
  const gram: GramStatistics = {
    layer: "layer",
    size,
    sums: [sum],
    means: [mean],
    positions: [rows],
    rank: size,
    exact: true,
  };
  return { calls: [{ timestep: 1, weight: 1 }], value: () => undefined, gram: () => gram };
}

async function context(model: Model, name: LayerName, device = "cpu-x64"): Promise<PassContext> {
  const rt = await runtime();
  return {
    model,
    target: target(device),
    seed: 0,
    evaluator: rt.evaluator,
    reader: rt.reader,
    ranges: null,
    statistics: statistics(name === "Conv" ? 288 : 64),
    oracle: null,
    collect: async () => null,
    collectCross: async () => null,
    shapes: () => inferShapes(model),
    decide: () => {},
    publish: () => {},
  };
}

function options(more: Partial<QuantizeWeightsOptions>): QuantizeWeightsOptions {
  const properties = quantizeWeights.options["properties"] as Record<string, { default: unknown }>;
  const defaults = Object.fromEntries(Object.entries(properties).map(([k, v]) => [k, v.default]));
  return { ...(defaults as unknown as QuantizeWeightsOptions), edges: "none", sensitive: "none", ...more };
}

/** The model with other constants, by value name. */
function withConstants(model: Model, by: Readonly<Record<string, Dense>>): Model {
  const { graph } = model;
  const values = [...graph.values()].map((v) => {
    const d = by[v.name];
    return d === undefined ? v : { ...v, init: inlineTensor(d.dtype, d.dims, d.bytes) };
  });
  const { ids, name, inputs, outputs } = graph;
  return { ...model, graph: new Graph({ ids, name, nodes: graph.nodes(), values, inputs, outputs }) };
}

async function output(model: Model): Promise<Float32Array> {
  const { type } = model.graph.value(model.graph.inputs[0]!);
  const shape = type?.kind === "tensor" ? (type.shape ?? []).map(Number) : [];
  const x = denseFrom(
    "f32",
    shape,
    gaussian(
      createRng(4, "x"),
      shape.reduce((a, b) => a * b, 1),
    ),
  );
  const session = await (await runtime()).openSession(model, { arithmetic: "reference" });
  try {
    return floats((await session.run(new Map([["x", x]]))).get("y")!);
  } finally {
    await session.release();
  }
}

const METHODS: readonly Partial<QuantizeWeightsOptions>[] = [
  { method: "rtn" },
  { method: "rtn", symmetric: true },
  { method: "hqq" },
  { method: "gptq" },
  { method: "rounding" },
  { method: "palette" },
  { method: "palette", codebookOutputs: 4, codebookInputs: 8 },
  { method: "gptq", lowRank: 4 },
  { method: "rtn", lowRank: 4 },
];
const grid = LAYERS.flatMap((layer) =>
  METHODS.flatMap((method) =>
    (["f16", "w8", "w4", "w2"] as const).map((format) => ({ layer, method, format })),
  ),
);

/** Blocks behind DequantizeLinear. */
const blocked = (["MatMul", "Gemm", "Gemm, transposed weight"] as const).flatMap((layer) =>
  (["rtn", "gptq", "rounding"] as const).map((method) => ({
    layer,
    method: { method, symmetric: true },
    format: "w4" as const,
    device: "tensorrt",
  })),
);

describe("candidates", () => {
  it.each([...grid.map((g) => ({ ...g, device: "cpu-x64" })), ...blocked])(
    "$layer as $format with $method for $device: floats and bytes are those of the written graph",
    async ({ layer, method, format, device }) => {
      const o = options(method);
      const model = modelOf(layer);
      const ctx = await context(model, layer, device);
      const [found] = await candidatesOf([format], false, o, await context(cloneModel(model), layer, device));
      const candidate = found!.options[0]!;
      const { weight, correction } = await storedFloats(candidate.written!, ctx.reader);
      const exchanged: Record<string, Dense> = { weight };
      if (candidate.bias !== null && correction !== null) {
        const bias = correctedBias(candidate.bias, inlineTensor("f32", correction.dims, correction.bytes));
        exchanged["bias"] = { dtype: "f32", dims: [24], bytes: await ctx.reader.read(bias) };
      }
      const predicted = await output(withConstants(modelOf(layer), exchanged));

      const decisions: { node: string; bytesAfter?: number }[] = [];
      await quantizeWeights.run(
        model.graph,
        { ...o, assign: { layer: format }, score: false },
        { ...ctx, decide: (d) => decisions.push(d) },
      );
      const written = await output(model);
      const scale = written.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
      // What is left is the order of sums.
      for (const [i, v] of written.entries()) expect(Math.abs(v - predicted[i]!)).toBeLessThan(1e-5 * scale);
      expect(candidate.format).toBe(format);
      expect(decisions.find((d) => d.node === "layer" && d.bytesAfter !== undefined)!.bytesAfter).toBe(
        candidate.bytes,
      );
      expect(candidate.bytes).toBeLessThan(tensorBytes(found!.tensor));
    },
  );
});
