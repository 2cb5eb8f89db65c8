import { describe, expect, it } from "vitest";
import { feedsFor, fixtures } from "../../../fixtures/build/index.ts";
import { denseFrom, floats } from "../../../src/calibrate/index.ts";
import type { Oracle } from "../../../src/calibrate/statistics/types.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { f32Tensor, i64Tensor, tensorBytes } from "../../../src/ir/tensor.ts";
import { modelTensors } from "../../../src/ir/weights.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { type FreezeTimeOptions, freezeTime } from "../../../src/passes/freeze/freeze-time.ts";
import type { Decision, Pass } from "../../../src/passes/pass.ts";
import { runPass } from "../../../src/passes/runner.ts";
import { runtime } from "../harness.ts";

const STEPS = [999, 1, 400, 951];

async function freeze(
  model: Model,
  options: Partial<FreezeTimeOptions>,
  oracle: Oracle | null = null,
): Promise<readonly Decision[]> {
  const rt = await runtime();
  const report = await runPass(
    model,
    freezeTime as unknown as Pass,
    { timesteps: STEPS, always: true, ...options },
    {
      evaluator: rt.evaluator,
      reader: rt.reader,
      target: null,
      seed: 0,
      ranges: null,
      statistics: null,
      oracle,
      trail: [],
    },
  );
  return report!.decisions;
}

type Feeds = ReadonlyMap<string, Dense>;

async function run(
  model: Model,
  feeds: Feeds,
  optimize: "all" | "disable" = "disable",
): Promise<Float32Array> {
  const session = await (await runtime()).openSession(model, { optimize });
  const [out] = [...(await session.run(feeds)).values()];
  await session.release();
  return floats(out!);
}

function largest(a: Float32Array, b: Float32Array): number {
  const size = a.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  return (
    a.reduce((m, v, i) => (Number.isNaN(b[i]!) ? Number.NaN : Math.max(m, Math.abs(v - b[i]!))), 0) / size
  );
}

const bytesOf = (m: Model): number => [...modelTensors(m)].reduce((n, t) => n + tensorBytes(t), 0);

const normal = (dims: readonly number[], seed: number) => {
  const rng = createRng(seed);
  return f32Tensor(
    Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => rng.normal()),
    dims,
  );
};

/** A denoiser of one layer with an embedded timestep; `mix` lets the rows of the embedding see each other. */
function denoiser(o: {
  timestep: "i64" | "f32";
  batch: number | "B";
  steps: number | string;
  mix?: boolean;
}): Model {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("x", "f32", [o.batch, 8]);
  const t = b.input("timestep", o.timestep, [o.steps]);
  const column = b.node("Unsqueeze", [b.node("Cast", [t], { to: 1 }), b.constant(i64Tensor([1]))]);
  const angle = b.node("Mul", [column, b.constant(f32Tensor([1, 0.1, 0.01, 0.001], [1, 4]))]);
  const waves = b.node("Concat", [b.node("Sin", [angle]), b.node("Cos", [angle])], { axis: 1 });
  let emb = b.node("MatMul", [waves, b.constant(normal([8, 32], 1))]);
  if (o.mix === true)
    emb = b.node("Sub", [emb, b.node("ReduceMean", [emb], { axes: { kind: "ints", value: [0] } })]);
  const act = b.node("Mul", [emb, b.node("Sigmoid", [emb])]);
  const shift = b.node("MatMul", [act, b.constant(normal([32, 8], 2))]);
  const y = b.node("Add", [b.node("MatMul", [x, b.constant(normal([8, 8], 3))]), shift]);
  return b.output(y, "y", { kind: "tensor", dtype: "f32", shape: null }).build();
}

const feedsOf = (t: "i64" | "f32", times: readonly number[], rows: number): Feeds =>
  new Map([
    ["x", denseFrom("f32", [rows, 8], floats({ ...normal([rows, 8], 9), bytes: dataOf(rows) }))],
    ["timestep", denseFrom(t, [times.length], times)],
  ]);

function dataOf(rows: number): Uint8Array {
  const rng = createRng(9);
  const x = Float32Array.from({ length: rows * 8 }, () => rng.normal());
  return new Uint8Array(x.buffer);
}

describe("freeze-time", () => {
  it.each([
    { timestep: "i64", batch: "B", steps: "B", times: [400, 999] },
    { timestep: "i64", batch: "B", steps: "S", times: [951] },
    { timestep: "f32", batch: "B", steps: "B", times: [1, 951] },
    { timestep: "i64", batch: 2, steps: 2, times: [1, 400] },
    { timestep: "i64", batch: 2, steps: 1, times: [999] },
  ] as const)("$timestep [$steps] beside a batch of $batch: exact at every timestep", async (c) => {
    const model = denoiser(c);
    const before = cloneModel(model);
    const said = await freeze(model, {});
    expect(said).toMatchObject([{ kind: "applied", rule: "time-tables", node: "timestep" }]);
    expect(said[0]!.why).toContain("1, 400, 951, 999");
    expect([...model.graph.nodes()].filter((n) => n.op === "Sin" || n.op === "Sigmoid")).toEqual([]);
    const feeds = feedsOf(c.timestep, c.times, 2);
    for (const optimize of ["all", "disable"] as const)
      expect(largest(await run(before, feeds), await run(model, feeds, optimize))).toBeLessThan(1e-6);
  });

  it("gives NaN, in the rows concerned, at a timestep that is not in the list", async () => {
    const model = denoiser({ timestep: "i64", batch: "B", steps: "B" });
    await freeze(model, {});
    for (const strange of [0, 2, 500, 998, 1000, -5]) {
      const y = await run(model, feedsOf("i64", [400, strange], 2), "all");
      expect([...y.slice(0, 8)].every(Number.isFinite)).toBe(true);
      expect([...y.slice(8)].every(Number.isNaN)).toBe(true);
    }
  });

  it("freezes the denoisers of the fixtures exactly", async () => {
    for (const name of ["tiny-unet", "tiny-dit"]) {
      const fixture = fixtures.find((f) => f.name === name)!;
      const model = fixture.build();
      const feeds = new Map(feedsFor(fixture, model));
      const t = feeds.get("timestep")!;
      const times = Array.from({ length: t.dims.reduce((a, b) => a * b, 1) }, (_, i) => STEPS[i % 4]!);
      feeds.set("timestep", denseFrom(t.dtype, t.dims, times));
      const expected = await run(cloneModel(model), feeds);
      const said = await freeze(model, {});
      expect(
        said.map((d) => d.rule),
        name,
      ).toContain("time-tables");
      expect(largest(expected, await run(model, feeds)), name).toBeLessThan(1e-5);
      feeds.set(
        "timestep",
        denseFrom(
          t.dtype,
          t.dims,
          times.map((v) => v - 1),
        ),
      );
      expect((await run(model, feeds)).some(Number.isNaN), name).toBe(true);
    }
  });

  it("drops the weights that tables stand for, and nothing where tables take more", async () => {
    const model = denoiser({ timestep: "i64", batch: "B", steps: "B" });
    const before = bytesOf(model);
    const [line] = await freeze(model, { always: false });
    expect(line).toMatchObject({ kind: "applied", bytesAfter: 5 * 8 * 4 });
    expect(before - bytesOf(model)).toBeGreaterThan(line!.bytesBefore! - line!.bytesAfter! - 256);
    const other = denoiser({ timestep: "i64", batch: "B", steps: "B" });
    const { version } = other.graph;
    const all = Array.from({ length: 1000 }, (_, i) => i);
    const said = await freeze(other, { always: false, timesteps: all });
    expect(said).toMatchObject([
      { kind: "skipped", why: expect.stringMatching(/tables for 1000 timesteps take/) },
    ]);
    expect(other.graph.version).toBe(version);
  });

  it("refuses what is no table: rows that see each other, nothing asked, no timestep", async () => {
    const mixed = await freeze(denoiser({ timestep: "i64", batch: "B", steps: "B", mix: true }), {});
    expect(mixed).toMatchObject([
      { kind: "skipped", why: expect.stringMatching(/other timesteps of the batch/) },
    ]);
    const silent = denoiser({ timestep: "i64", batch: "B", steps: "B" });
    expect(await freeze(silent, { timesteps: null })).toMatchObject([{ kind: "skipped", rule: "timesteps" }]);
    expect(await freeze(silent, { timesteps: "calibration" })).toMatchObject([
      { kind: "skipped", why: expect.stringMatching(/could not be sampled/) },
    ]);
    await expect(
      freeze(denoiser({ timestep: "f32", batch: "B", steps: "B" }), { timesteps: [1, 1.001] }),
    ).rejects.toMatchObject({ code: "TIMESTEPS_TOO_CLOSE" });
  });

  it("takes the timesteps of the calibration trajectory on request", async () => {
    const model = denoiser({ timestep: "i64", batch: "B", steps: "B" });
    const call = (timestep: number) => ({ timestep, weight: 1, feeds: new Map(), outputs: new Map() });
    const oracle: Oracle = {
      calls: [call(901), call(1), call(901)],
      guidance: 1,
      halves: 1,
      output: "y",
      open: () => Promise.reject(new Error("not needed")),
      errors: () => Promise.reject(new Error("not needed")),
    };
    const [line] = await freeze(model, { timesteps: "calibration" }, oracle);
    expect(line!.why).toMatch(/others: 1, 901$/);
  });
});
