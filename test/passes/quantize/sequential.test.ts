import { describe, expect, it } from "vitest";
import type { CrossGram, CrossRequest } from "../../../src/calibrate/statistics/cross.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import type { Decision, Pass } from "../../../src/passes/pass.ts";
import type { QuantizeWeightsOptions } from "../../../src/passes/quantize/plan.ts";
import { quantizeWeights } from "../../../src/passes/quantize/quantize-weights.ts";
import { runPass } from "../../../src/passes/runner.ts";
import { target } from "../../../src/targets/index.ts";
import { floats, runtime } from "../harness.ts";
import { feedsOf, weight } from "./layered.ts";
import { columnsOf, returning, statisticsOver } from "./statistics.ts";

const cpu = target("cpu-x64");
const normal = (n: number, seed: number): Float32Array => {
  const rng = createRng(seed);
  return Float32Array.from({ length: n }, () => rng.normal());
};

/** Two linear layers with a bias each and a ReLU between. */
function twoLayers(): Model {
  const b = new ModelBuilder({ opset: 21 });
  const linear = (x: number, k: number, n: number, name: string): number =>
    b.node(
      "Gemm",
      [x as never, b.constant(weight([k, n])), b.constant(f32Tensor(normal(n, 4), [n]))],
      {},
      { name },
    );
  const x = b.input("x", "f32", [160, 64]);
  const hidden = b.node("Relu", [linear(x, 64, 64, "first") as never]);
  const y = linear(hidden, 64, 32, "second");
  return b.output(y as never, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

const FEEDS = feedsOf([160, 64]);

function complete(o: Partial<QuantizeWeightsOptions>): QuantizeWeightsOptions {
  const properties = quantizeWeights.options["properties"] as Record<string, { default: unknown }>;
  const defaults = Object.fromEntries(Object.entries(properties).map(([k, v]) => [k, v.default]));
  return {
    ...(defaults as unknown as QuantizeWeightsOptions),
    format: "w2",
    method: "gptq",
    edges: "none",
    sensitive: "none",
    ...o,
  };
}

/** Rows of layer inputs over all feeds. */
async function rowsIn(model: Model, r: CrossRequest): Promise<{ rows: Float32Array; size: number }> {
  const session = await (await runtime()).openSession(returning(model, [r.value]), { optimize: "disable" });
  const parts: number[] = [];
  let size = 0;
  for (const f of FEEDS) {
    const found = columnsOf((await session.run(f, [r.value])).get(r.value)!, r);
    size = found.size;
    for (const v of found.rows) parts.push(v);
  }
  await session.release();
  return { rows: Float32Array.from(parts), size };
}

async function crossOver(
  models: { readonly compressed: Model; readonly original: Model },
  requests: readonly CrossRequest[],
): Promise<ReadonlyMap<string, CrossGram>> {
  const out = new Map<string, CrossGram>();
  for (const r of requests) {
    const [a, b] = [await rowsIn(models.compressed, r), await rowsIn(models.original, r)];
    const { size } = a;
    const n = a.rows.length / size;
    const [own, cross] = [new Float64Array(size * size), new Float64Array(size * size)];
    const [ownMean, originalMean] = [new Float64Array(size), new Float64Array(size)];
    for (let p = 0; p < n; p++)
      for (let i = 0; i < size; i++) {
        const v = a.rows[p * size + i]! / n;
        ownMean[i]! += v;
        originalMean[i]! += b.rows[p * size + i]! / n;
        for (let j = 0; j < size; j++) {
          own[i * size + j]! += v * a.rows[p * size + j]!;
          cross[i * size + j]! += v * b.rows[p * size + j]!;
        }
      }
    out.set(r.layer, { layer: r.layer, size, own, cross, ownMean, originalMean, positions: n, exact: true });
  }
  return out;
}

interface Result {
  readonly decisions: readonly Decision[];
  /** Per output channel, of the output less the original's. */
  readonly means: Float64Array;
  readonly noise: number;
  readonly crossings: (readonly string[])[];
}

async function outputs(model: Model): Promise<Float32Array> {
  const session = await (await runtime()).openSession(model, { optimize: "disable" });
  const parts: number[] = [];
  for (const f of FEEDS as Map<string, Dense>[]) parts.push(...floats((await session.run(f)).get("y")!));
  await session.release();
  return Float32Array.from(parts);
}

async function quantize(o: Partial<QuantizeWeightsOptions>, sampled = true): Promise<Result> {
  const rt = await runtime();
  const model = twoLayers();
  const original = cloneModel(model);
  const options = complete(o);
  const ctx = { model, target: cpu, shapes: () => inferShapes(model) };
  const request = quantizeWeights.wantsStatistics!(model.graph, options, ctx);
  const crossings: (readonly string[])[] = [];
  const report = await runPass(model, quantizeWeights as unknown as Pass, options, {
    evaluator: rt.evaluator,
    reader: rt.reader,
    target: cpu,
    seed: 0,
    ranges: null,
    statistics: sampled && request !== null ? await statisticsOver(model, request, FEEDS, rt) : null,
    collectCross: async (models, requests) => {
      crossings.push(requests.map((r) => r.layer));
      return await crossOver(models, requests);
    },
    trail: [],
  });
  const [y, z] = [await outputs(original), await outputs(model)];
  const means = new Float64Array(32);
  let noise = 0;
  for (const [i, v] of y.entries()) {
    means[i % 32]! += ((z[i]! - v) * 32) / y.length;
    noise += (z[i]! - v) ** 2;
  }
  return { decisions: report!.decisions, means, noise, crossings };
}

const largest = (x: Float64Array): number => x.reduce((m, v) => Math.max(m, Math.abs(v)), 0);

describe("quantize-weights in stages", () => {
  it("observes later layers behind those stored already, and keeps the mean of their output", async () => {
    const once = await quantize({});
    const staged = await quantize({ sequential: 1 });
    expect(once.crossings).toEqual([]);
    expect(staged.crossings).toEqual([["second"]]);
    expect(largest(once.means)).toBeGreaterThan(1e-3);
    expect(largest(staged.means)).toBeLessThan(1e-5);
    expect(staged.noise).toBeLessThan(once.noise);
    expect(staged.decisions).toContainEqual(
      expect.objectContaining({ rule: "sequential", kind: "applied", why: "2 stages, of 1, 1 weights" }),
    );
  });

  it("moves weights towards the original's output when asked", async () => {
    const staged = await quantize({ sequential: 1 });
    const steered = await quantize({ sequential: 1, steer: true });
    expect(largest(steered.means)).toBeLessThan(1e-5);
    expect(steered.noise).toBeLessThan(staged.noise);
  });

  it.each([{ method: "palette" }, { method: "rounding", lowRank: 4 }] as const)(
    "works with $method",
    async (o) => {
      const { means, crossings } = await quantize({ ...o, format: "w4", sequential: 3, steer: true });
      expect(crossings).toEqual([["second"]]);
      expect(largest(means)).toBeLessThan(1e-5);
    },
  );

  it("says so where layers are not looked at or nothing can be sampled", async () => {
    const plain = await quantize({ method: "rtn", sequential: 2 });
    const blind = await quantize({ sequential: 2 }, false);
    for (const [{ decisions, crossings }, why] of [
      [plain, "which this method does not look at"],
      [blind, "the model could not be sampled"],
    ] as const) {
      expect(crossings).toEqual([]);
      const said = decisions.find((d) => d.rule === "sequential")!;
      expect(said.kind).toBe("skipped");
      expect(said.why).toContain(why);
    }
  });
});
