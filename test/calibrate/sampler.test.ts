import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  calibrationSeeds,
  conditioningEffect,
  type Denoiser,
  denseFrom,
  floats,
  guide,
  inputRoles,
  numbersOf,
  openPipeline,
  type Pipeline,
  planTrajectory,
  readNpz,
  rows,
  type StepRecord,
  sampleShape,
  sampleTrajectory,
  seedRng,
  sessionDenoiser,
  splitVariance,
  stack,
  startingNoise,
  stepNoise,
  verificationSeeds,
} from "../../src/calibrate/index.ts";
import { createRuntime, type PortType, type Runtime, type Session } from "../../src/runtime/index.ts";

const FIXTURE = fileURLToPath(new URL("../../fixtures/cifar-unet", import.meta.url));

let runtime: Runtime;
let session: Session;
let pipeline: Pipeline;
let denoiser: Denoiser;
beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
  pipeline = await openPipeline(FIXTURE);
  session = await runtime.openSession(pipeline.denoiser!.model);
  denoiser = sessionDenoiser(session);
});
afterAll(async () => {
  await session.release();
  await runtime.close();
});

const largest = (a: Float32Array, b: Float32Array): number => {
  expect(a.length).toBe(b.length);
  return a.reduce((m, v, i) => Math.max(m, Math.abs(v - b[i]!)), 0);
};

describe("the fixture's denoiser", () => {
  it("gives the recorded outputs", async () => {
    const reference = await readNpz(pipeline.reference!);
    for (let i = 0; i < 5; i++) {
      const feeds = new Map(
        ["sample", "timestep", "encoder_hidden_states"].map((n) => [n, reference.get(`${i}.${n}`)!]),
      );
      const out = await denoiser.run(feeds);
      expect(largest(floats(out), floats(reference.get(`${i}.out_sample`)!))).toBeLessThan(1e-4);
    }
  });

  it("gets its conditions through the text encoder", async () => {
    const plan = await planTrajectory(pipeline, runtime, denoiser);
    expect(plan.conditions.conditions.map((c) => c.name)).toEqual(["automobile", "ship", "horse"]);
    const reference = await readNpz(pipeline.reference!);
    const recorded = reference.get("0.encoder_hidden_states")!;
    const known = plan.conditions.conditions.map((c) => c.inputs.get("encoder_hidden_states")!);
    expect(known.every((k) => k.dims.join() === "1,8,64")).toBe(true);
    const first = floats(rows(recorded, 0, 1));
    expect(Math.min(...known.map((k) => largest(floats(k), first)))).toBeLessThan(1e-6);
    const none = plan.conditions.unconditional!.inputs.get("encoder_hidden_states")!;
    expect(largest(floats(none), floats(rows(recorded, 1, 2)))).toBeLessThan(1e-6);
  });
});

describe("trajectories", () => {
  const record = async (batch: number, more: object = {}) => {
    const plan = await planTrajectory(pipeline, runtime, denoiser, { steps: 4, batch, ...more });
    const steps: StepRecord[] = [];
    const t = await sampleTrajectory({
      ...plan,
      seeds: verificationSeeds(0, 3),
      onStep: (s) => void steps.push(s),
    });
    return { ...t, steps, plan };
  };

  it("repeat bit for bit and do not depend on grouping", async () => {
    const a = await record(3);
    const b = await record(3);
    const c = await record(2);
    expect(Buffer.from(a.samples.bytes).equals(Buffer.from(b.samples.bytes))).toBe(true);
    expect(largest(floats(a.samples), floats(c.samples))).toBeLessThan(1e-4);
    expect(a.samples.dims).toEqual([3, 3, 16, 16]);
    expect(a.conditions).toEqual(["automobile", "ship", "horse"]);
    expect(a.steps).toHaveLength(4);
    expect(c.steps.map((s) => s.group)).toEqual([...new Array(4).fill([0, 1]), ...new Array(4).fill([2])]);
    // The noise itself is exact: the first denoiser input of the third seed is the same bytes in both groupings.
    const fromA = rows(a.steps[0]!.feeds.get("sample")!, 2, 3).bytes;
    const fromC = rows(c.steps[4]!.feeds.get("sample")!, 0, 1).bytes;
    expect(Buffer.from(fromA).equals(Buffer.from(fromC))).toBe(true);
  });

  it("give finite images in range", async () => {
    const plan = await planTrajectory(pipeline, runtime, denoiser, { steps: 12, batch: 6 });
    const { samples } = await sampleTrajectory({ ...plan, seeds: verificationSeeds(1, 6) });
    const x = floats(samples);
    expect(x.every(Number.isFinite)).toBe(true);
    const [low, high] = pipeline.sampling.sampleRange;
    const outside = x.filter((v) => v < low - 0.5 || v > high + 0.5).length / x.length;
    expect(outside).toBeLessThan(0.01);
    const spread = Math.sqrt(x.reduce((s, v) => s + v * v, 0) / x.length);
    expect(spread).toBeGreaterThan(0.2);
    expect(spread).toBeLessThan(0.9);
  });

  it("feed both halves in one batch and guide them", async () => {
    const { steps, plan } = await record(3);
    const { feeds, output, guided, halves } = steps[2]!;
    expect(halves).toBe(2);
    expect(feeds.get("sample")!.dims).toEqual([6, 3, 16, 16]);
    const half = floats(rows(feeds.get("sample")!, 0, 3));
    expect(largest(half, floats(rows(feeds.get("sample")!, 3, 6)))).toBe(0);
    const embeddings = feeds.get("encoder_hidden_states")!;
    const none = floats(plan.conditions.unconditional!.inputs.get("encoder_hidden_states")!);
    expect(largest(floats(rows(embeddings, 1, 2)), none)).toBe(0);
    expect(largest(floats(rows(embeddings, 4, 5)), none)).toBeGreaterThan(0.01);
    const values = floats(output);
    const n = guided.length;
    for (const k of [0, 17, n - 1]) {
      expect(guided[k]).toBeCloseTo(values[k]! + 2.5 * (values[n + k]! - values[k]!), 5);
    }
    expect(conditioningEffect(output)[17]).toBeCloseTo(values[n + 17]! - values[17]!, 6);
  });

  it("leave the unconditional half out at guidance 1 unless asked", async () => {
    const alone = await record(3, { guidance: 1 });
    const both = await record(3, { guidance: 1, bothHalves: true });
    expect(alone.steps[0]!.feeds.get("sample")!.dims[0]).toBe(3);
    expect(both.steps[0]!.feeds.get("sample")!.dims[0]).toBe(6);
    expect(largest(floats(alone.samples), floats(both.samples))).toBeLessThan(1e-4);
  });

  it("run stochastic and second-order samplers", async () => {
    const ancestral = await record(3, { sampler: "euler-ancestral" });
    expect(floats(ancestral.samples).every(Number.isFinite)).toBe(true);
    const other = await record(1, { sampler: "euler-ancestral" });
    expect(largest(floats(ancestral.samples), floats(other.samples))).toBeLessThan(1e-3);
    const heun = await record(3, { sampler: "heun" });
    expect(heun.calls).toBe(7);
  });

  it("stop where numbers break, unless told to go on", async () => {
    const plan = await planTrajectory(pipeline, runtime, denoiser, { steps: 2 });
    const broken: Denoiser = {
      roles: denoiser.roles,
      run: async (feeds) => {
        const sample = feeds.get("sample")!;
        const out = new Float32Array(floats(sample).length);
        out[out.length - 1] = Number.NaN;
        return denseFrom("f32", sample.dims, out);
      },
    };
    const options = { ...plan, denoiser: broken, seeds: verificationSeeds(0, 2) };
    await expect(sampleTrajectory(options)).rejects.toMatchObject({
      diagnostic: { code: "TRAJECTORY_NOT_FINITE", details: { call: 0, seed: 1 } },
    });
    expect((await sampleTrajectory({ ...options, notFinite: "keep" })).samples.dims[0]).toBe(2);
  });

  it("need an unconditional condition for guidance and equal shapes", async () => {
    const plan = await planTrajectory(pipeline, runtime, denoiser, { steps: 2 });
    const seeds = verificationSeeds(0, 1);
    const alone = { ...plan.conditions, unconditional: null };
    await expect(sampleTrajectory({ ...plan, conditions: alone, seeds })).rejects.toMatchObject({
      code: "GUIDANCE_NEEDS_UNCONDITIONAL",
    });
    const short = {
      name: "short",
      inputs: new Map([["encoder_hidden_states", denseFrom("f32", [1, 1, 64], new Float32Array(64))]]),
    };
    await expect(
      sampleTrajectory({ ...plan, conditions: { ...plan.conditions, unconditional: short }, seeds }),
    ).rejects.toMatchObject({
      code: "CONDITIONS_DIFFER",
    });
  });

  it("can be aborted", async () => {
    const plan = await planTrajectory(pipeline, runtime, denoiser, { steps: 2, signal: AbortSignal.abort() });
    await expect(sampleTrajectory({ ...plan, seeds: verificationSeeds(0, 1) })).rejects.toThrow(/abort/i);
  });
});

describe("seeds", () => {
  it("that calibrate never judge", () => {
    const streams = new Set<string>();
    for (const root of [0, 1, 2]) {
      for (const s of [...calibrationSeeds(root, 40), ...verificationSeeds(root, 40)]) {
        const rng = seedRng(s);
        streams.add(`${rng.u32()},${rng.u32()}`);
      }
    }
    expect(streams.size).toBe(240);
  });

  it("give each call its own noise", () => {
    const [s] = verificationSeeds(0, 1);
    expect(Array.from(startingNoise(s!, 4))).not.toEqual(Array.from(stepNoise(s!, 0, 4)));
    expect(Array.from(stepNoise(s!, 1, 4))).toEqual(Array.from(stepNoise(s!, 1, 8).subarray(0, 4)));
  });
});

const port = (name: string, dtype: PortType["dtype"], shape: PortType["shape"]): PortType => ({
  name,
  dtype,
  shape,
});

describe("input roles", () => {
  const out = [port("out_sample", "f32", ["b", 4, "h", "w"])];
  it.each([
    [port("timestep", "f32", []), "scalar"],
    [port("timestep", "i64", [1]), "one"],
    [port("t", "i64", ["steps"]), "one"],
    [port("timestep", "i64", ["b"]), "batch"],
  ] as const)("takes the time as %o", (time, layout) => {
    const roles = inputRoles([port("sample", "f32", ["b", 4, "h", "w"]), time], out);
    expect(roles.timestep.layout).toBe(layout);
    expect(roles.fixedBatch).toBeNull();
  });

  it("finds unusual names by shape, and tells batched from shared inputs", () => {
    const roles = inputRoles(
      [
        port("noisy", "f16", [2, 4, 64, 64]),
        port("when", "f32", [2]),
        port("prompt_embeds", "f16", [2, 77, 768]),
        port("img_ids", "f32", [4096, 3]),
        port("guidance", "f32", [2]),
      ],
      out,
      { timestep: "when" },
    );
    expect(roles.sample.name).toBe("noisy");
    expect(roles.timestep.layout).toBe("batch");
    expect(roles.fixedBatch).toBe(2);
    expect(roles.conditions.map((c) => [c.name, c.batched, c.guidance])).toEqual([
      ["prompt_embeds", true, false],
      ["img_ids", false, false],
      ["guidance", true, true],
    ]);
  });

  it("says what it did not find", () => {
    expect(() => inputRoles([port("a", "i64", [1])], out)).toThrow(
      expect.objectContaining({ code: "DENOISER_ROLE_UNKNOWN" }),
    );
    expect(() => inputRoles([port("sample", "f32", ["b", 4, 8, 8])], out)).toThrow(
      expect.objectContaining({ code: "DENOISER_ROLE_UNKNOWN" }),
    );
    expect(() => inputRoles([port("sample", "f32", ["b", 4, 8, 8])], out, { sample: "nope" })).toThrow(
      /nope/,
    );
  });

  it("sizes samples from dims, bindings and declared sizes", () => {
    const declared = { channels: 4, height: 64, width: 32 };
    const none = { channels: null, height: null, width: null };
    const open = port("sample", "f32", ["b", "c", "h", "w"]);
    expect(sampleShape(open, declared)).toEqual([4, 64, 32]);
    expect(sampleShape(open, declared, { h: 8, "sample.3": 16 })).toEqual([4, 8, 16]);
    expect(sampleShape(port("x", "f32", ["b", 3, 16, 16]), none)).toEqual([3, 16, 16]);
    expect(() => sampleShape(open, none)).toThrow(expect.objectContaining({ code: "SAMPLE_SHAPE_UNKNOWN" }));
  });
});

describe("denoisers of one batch size", () => {
  it("are fed in padded pieces", async () => {
    const seen: number[][] = [];
    const fixed: Session = {
      inputs: [
        port("sample", "f32", [2, 1]),
        port("timestep", "i64", [2]),
        port("class_labels", "i64", [2]),
      ].map((p, i) => (i === 0 ? { ...p, shape: [2, 1, 1, 1] } : p)),
      outputs: [port("out_sample", "f32", [2, 1, 1, 1])],
      run: async (feeds) => {
        seen.push(numbersOf(feeds.get("class_labels")!));
        const x = floats(feeds.get("sample")!).map((v) => v * 10);
        return new Map([["out_sample", denseFrom("f32", [2, 1, 1, 1], x)]]);
      },
      release: async () => {},
    };
    const out = await sessionDenoiser(fixed).run(
      new Map([
        ["sample", denseFrom("f32", [3, 1, 1, 1], [1, 2, 3])],
        ["timestep", denseFrom("i64", [3], [5, 5, 5])],
        ["class_labels", denseFrom("i64", [3], [7, 8, 9])],
      ]),
    );
    expect(numbersOf(out)).toEqual([10, 20, 30]);
    expect(seen).toEqual([
      [7, 8],
      [9, 9],
    ]);
  });

  it("take the time of each sample where the batch is one", async () => {
    const times: number[][] = [];
    const single: Session = {
      inputs: [port("sample", "f32", [1, 1, 1, 1]), port("timestep", "i64", [1])],
      outputs: [port("out_sample", "f32", [1, 1, 1, 1])],
      run: async (feeds) => {
        times.push(numbersOf(feeds.get("timestep")!));
        return new Map([["out_sample", feeds.get("sample")!]]);
      },
      release: async () => {},
    };
    const out = await sessionDenoiser(single).run(
      new Map([
        ["sample", denseFrom("f32", [3, 1, 1, 1], [1, 2, 3])],
        ["timestep", denseFrom("i64", [3], [7, 8, 9])],
      ]),
    );
    expect(numbersOf(out)).toEqual([1, 2, 3]);
    expect(times).toEqual([[7], [8], [9]]);
  });

  it("must answer in the sample's shape", async () => {
    const wrong: Session = {
      inputs: [port("sample", "f32", ["b", 1, 2, 2]), port("timestep", "i64", ["b"])],
      outputs: [port("out", "f32", ["b", 5])],
      run: async () => new Map([["out", denseFrom("f32", [1, 5], new Float32Array(5))]]),
      release: async () => {},
    };
    const feeds = new Map([
      ["sample", denseFrom("f32", [1, 1, 2, 2], new Float32Array(4))],
      ["timestep", denseFrom("i64", [1], [3])],
    ]);
    await expect(sessionDenoiser(wrong).run(feeds)).rejects.toMatchObject({ code: "DENOISER_OUTPUT_UNFIT" });
  });
});

describe("learned variance", () => {
  it("is split off each sample", () => {
    const out = denseFrom("f32", [2, 2, 1, 2], [1, 2, -1, -2, 3, 4, -3, -4]);
    const { prediction, variance } = splitVariance(out, 2);
    expect(prediction.dims).toEqual([2, 1, 1, 2]);
    expect(numbersOf(prediction)).toEqual([1, 2, 3, 4]);
    expect(numbersOf(variance!)).toEqual([-1, -2, -3, -4]);
    expect(splitVariance(out, 4).variance).toBeNull();
  });

  it("does not hinder guidance", () => {
    const two = stack([denseFrom("f32", [1, 2], [1, 1]), denseFrom("f32", [1, 2], [2, 3])]);
    expect(Array.from(guide(two, 2, 2))).toEqual([3, 5]);
  });
});
