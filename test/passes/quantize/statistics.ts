import { denseFrom, floats } from "../../../src/calibrate/index.ts";
import type {
  GramRequest,
  GramStatistics,
  Statistics,
  StatisticsRequest,
  ValueRequest,
  ValueStatistics,
} from "../../../src/calibrate/statistics/types.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import { Graph, type Model } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { tensorType } from "../../../src/ir/types.ts";
import type { Runtime } from "../../../src/runtime/index.ts";

/** A model that also returns some of its values. */
export function returning(model: Model, names: readonly string[]): Model {
  const copy = cloneModel(model);
  const { graph } = copy;
  const byName = new Map([...graph.values()].map((v) => [v.name, v.id]));
  const ids = names.map((n) => byName.get(n)!);
  const shapes = inferShapes(copy);
  const outputs = [...graph.outputs, ...ids.filter((id) => !graph.outputs.includes(id))];
  const values = [...graph.values()].map((v) =>
    ids.includes(v.id) && v.type === null
      ? { ...v, type: { kind: "tensor" as const, dtype: shapes.dtype(v.id)!, shape: shapes.shape(v.id) } }
      : v,
  );
  copy.graph = new Graph({
    ids: graph.ids,
    name: graph.name,
    meta: graph.meta,
    nodes: graph.nodes(),
    values,
    inputs: graph.inputs,
    outputs,
  });
  return copy;
}

/** Columns of a layer's input, one row per position: `positions × size`. */
export function columnsOf(d: Dense, r: GramRequest): { rows: Float32Array; size: number } {
  const x = floats(d);
  const { dims } = d;
  if (r.unfold === null) {
    const size = dims[r.axis]!;
    const inner = dims.slice(r.axis + 1).reduce((a, b) => a * b, 1);
    const rows = new Float32Array(x.length);
    for (let i = 0; i < x.length; i++) {
      const [o, c, p] = [Math.floor(i / (size * inner)), Math.floor(i / inner) % size, i % inner];
      rows[(o * inner + p) * size + c] = x[i]!;
    }
    return { rows, size };
  }
  const { kernel, strides, pads, dilations } = r.unfold;
  const [batch, channels, height, width] = dims as [number, number, number, number];
  const out = (n: number, i: 0 | 1): number =>
    Math.floor((n + pads[i]! + pads[i + 2]! - dilations[i] * (kernel[i] - 1) - 1) / strides[i]) + 1;
  const [h, w] = [out(height, 0), out(width, 1)];
  const size = channels * kernel[0] * kernel[1];
  const rows = new Float32Array(batch * h * w * size);
  let at = 0;
  for (let b = 0; b < batch; b++)
    for (let y = 0; y < h; y++)
      for (let z = 0; z < w; z++)
        for (let c = 0; c < channels; c++)
          for (let i = 0; i < kernel[0]; i++)
            for (let j = 0; j < kernel[1]; j++, at++) {
              const p = y * strides[0] - pads[0] + i * dilations[0];
              const q = z * strides[1] - pads[1] + j * dilations[1];
              if (p >= 0 && p < height && q >= 0 && q < width)
                rows[at] = x[((b * channels + c) * height + p) * width + q]!;
            }
  return { rows, size };
}

function gramModel(): Model {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("x", "f32", ["m", "k"]);
  return b.output(b.node("Gemm", [x, x], { transA: 1 }), "y", tensorType("f32", ["k", "k"])).build();
}

/** Distribution of a value per call and channel, and every so many-th position as its sample. */
function observed(r: ValueRequest, calls: readonly Dense[]): ValueStatistics {
  const tables = calls.map((d) =>
    r.axis === null
      ? { rows: floats(d), size: 1 }
      : columnsOf(d, { layer: "", value: r.name, axis: r.axis, unfold: null }),
  );
  const channels = tables[0]!.size;
  const positions = tables[0]!.rows.length / channels;
  const rows = Math.min(r.rows, positions);
  const at = (fill: number): Float64Array => new Float64Array(calls.length * channels).fill(fill);
  const [min, max] = [at(Number.POSITIVE_INFINITY), at(Number.NEGATIVE_INFINITY)];
  const [mean, square] = [at(0), at(0)];
  const sample = new Float32Array(calls.length * rows * channels);
  for (const [t, { rows: x }] of tables.entries()) {
    for (const [i, v] of x.entries()) {
      const k = t * channels + (i % channels);
      min[k] = Math.min(min[k]!, v);
      max[k] = Math.max(max[k]!, v);
      mean[k]! += v / positions;
      square[k]! += (v * v) / positions;
    }
    for (let s = 0; s < rows; s++) {
      const from = Math.floor((s * positions) / rows) * channels;
      sample.set(x.subarray(from, from + channels), (t * rows + s) * channels);
    }
  }
  return { name: r.name, channels, count: positions, min, max, mean, square, rows, sample };
}

/** Statistics of a model over given feeds: each is a call at its timestep for values; for Grams of every feed is counted once, in float64 sums of float32 parts. */
export async function statisticsOver(
  model: Model,
  request: StatisticsRequest,
  feeds: readonly ReadonlyMap<string, Dense>[],
  runtime: Runtime,
  timesteps: readonly number[] = [],
): Promise<Statistics> {
  const names = [...new Set([...request.grams.map((g) => g.value), ...request.values.map((v) => v.name)])];
  const seenValues = new Map<string, Dense[]>(request.values.map((v) => [v.name, []]));
  const inner = names.filter((n) => !model.graph.inputs.some((i) => model.graph.value(i).name === n));
  const session = await runtime.openSession(returning(model, inner), { optimize: "disable" });
  const product = await runtime.openSession(gramModel());
  const key = (r: GramRequest): string => JSON.stringify([r.value, r.axis, r.unfold]);
  const sums = new Map<string, { gram: Float64Array; mean: Float64Array; positions: number; size: number }>();
  for (const feed of feeds) {
    const values = new Map([...feed, ...(await session.run(feed, inner))]);
    for (const [name, list] of seenValues) list.push(values.get(name)!);
    const seen = new Set<string>();
    for (const r of request.grams) {
      if (seen.has(key(r))) continue;
      seen.add(key(r));
      const { rows, size } = columnsOf(values.get(r.value)!, r);
      const positions = rows.length / size;
      const sum = sums.get(key(r)) ?? {
        gram: new Float64Array(size * size),
        mean: new Float64Array(size),
        positions: 0,
        size,
      };
      sums.set(key(r), sum);
      const x = denseFrom("f32", [positions, size], rows);
      const g = floats((await product.run(new Map([["x", x]]))).get("y")!);
      for (let i = 0; i < g.length; i++) sum.gram[i]! += g[i]!;
      for (let i = 0; i < rows.length; i++) sum.mean[i % size]! += rows[i]!;
      sum.positions += positions;
    }
  }
  await session.release();
  await product.release();
  const grams = new Map<string, GramStatistics>();
  const finished = new Map<string, Pick<GramStatistics, "sums" | "means" | "positions" | "size">>();
  for (const [k, s] of sums)
    finished.set(k, {
      size: s.size,
      sums: [s.gram.map((v) => v / s.positions)],
      means: [s.mean.map((v) => v / s.positions)],
      positions: [s.positions],
    });
  for (const r of request.grams)
    grams.set(r.layer, { layer: r.layer, rank: 0, exact: true, ...finished.get(key(r))! });
  const found = new Map(request.values.map((r) => [r.name, observed(r, seenValues.get(r.name)!)]));
  return {
    calls: timesteps.map((timestep) => ({ timestep, weight: 1 })),
    value: (name) => found.get(name),
    gram: (layer) => grams.get(layer),
  };
}

/** A step of a made-up trajectory. */
export interface FedCall {
  readonly timestep: number;
  readonly feeds: ReadonlyMap<string, Dense>;
}

/** Statistics of values of a model, one call per feed. */
export async function valuesOver(
  model: Model,
  request: StatisticsRequest,
  calls: readonly FedCall[],
  runtime: Runtime,
): Promise<Statistics> {
  const feeds = calls.map((c) => c.feeds);
  return await statisticsOver(
    model,
    request,
    feeds,
    runtime,
    calls.map((c) => c.timestep),
  );
}
