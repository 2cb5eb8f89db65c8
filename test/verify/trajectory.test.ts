import { describe, expect, it } from "vitest";
import { createScheduler } from "../../src/calibrate/schedulers/index.ts";
import { verificationSeeds } from "../../src/calibrate/seeds.ts";
import { noiseFloor, probePredictor, split } from "../../src/verify/floor.ts";
import { SQNR_CAP_DB } from "../../src/verify/metrics/sqnr.ts";
import { guided, type Predictor, separate } from "../../src/verify/predictor.ts";
import { planSettings, type Setting } from "../../src/verify/settings.ts";
import { agreementOf, settingResult } from "../../src/verify/summary.ts";
import { compareTrajectories, type TrajectoryPlan } from "../../src/verify/trajectory.ts";

const DIMS = [2, 12, 12];
const LENGTH = 288;
const CONFIG = {
  _class_name: "DDIMScheduler",
  num_train_timesteps: 1000,
  beta_start: 0.0001,
  beta_end: 0.02,
  beta_schedule: "linear",
  prediction_type: "epsilon",
  clip_sample: false,
  steps_offset: 1,
};

/** A made-up denoiser: each half is a simple function of the sample and its condition. */
function toy(
  conditional: (x: number, c: number, i: number) => number,
  unconditional: (x: number) => number,
): Predictor {
  return {
    async predict(samples, _timestep, conditions) {
      const c = (i: number): number => conditions[Math.floor(i / LENGTH)]!;
      return {
        conditional: samples.map((x, i) => conditional(x, c(i), i)),
        unconditional: samples.map((x) => unconditional(x)),
        variance: null,
      };
    },
  };
}

const reference = toy(
  (x, c) => 0.5 * x + 0.1 * (c + 1),
  (x) => 0.5 * x,
);

function plan(more: Partial<TrajectoryPlan> = {}): TrajectoryPlan {
  return {
    scheduler: createScheduler(CONFIG, { steps: 5 }),
    guidance: 2.5,
    draws: verificationSeeds(0, 5).map((seed, i) => ({ seed, condition: i % 3 })),
    batch: 2,
    dims: DIMS,
    range: { low: -1, high: 1 },
    ...more,
  };
}

const SETTING: Setting = { name: "main", sampler: "ddim", steps: 5, guidance: 2.5, seeds: 5 };

describe("trajectories", () => {
  it("of equal sides agree everywhere", async () => {
    const record = await compareTrajectories(reference, reference, plan());
    expect(record.teacher.curve()).toEqual(Array(5).fill(SQNR_CAP_DB));
    expect(record.drift.curve()).toEqual(Array(5).fill(SQNR_CAP_DB));
    expect(record.psnr).toEqual(Array(5).fill(SQNR_CAP_DB));
    expect(record.ssim.every((v) => Math.abs(v - 1) < 1e-12)).toBe(true);
    expect(record.timesteps).toEqual([...plan().scheduler.timesteps]);
  });

  it("report the SQNR that an injected error has", async () => {
    const flat = toy(
      () => 2,
      () => 2,
    );
    const offset = toy(
      (_x, _c, i) => 2 + (i % 2 === 0 ? 0.02 : -0.02),
      () => 2,
    );
    const atOne = await compareTrajectories(flat, offset, plan({ guidance: 1 }));
    for (const db of atOne.teacher.curve()) expect(db).toBeCloseTo(40, 4);
    // The error sits in the conditional half only, so guidance multiplies it: 20·log10(2 / (g · 0.02)).
    const guidedRecord = await compareTrajectories(flat, offset, plan({ guidance: 4 }));
    for (const db of guidedRecord.teacher.curve()) expect(db).toBeCloseTo(20 * Math.log10(2 / 0.08), 4);
  });

  it("are teacher-forced: an error does not grow through the inputs, while the drift accumulates it", async () => {
    const wrong = toy(
      (x, c) => 0.55 * x + 0.1 * (c + 1),
      (x) => 0.55 * x,
    );
    const record = await compareTrajectories(reference, wrong, plan());
    const drift = record.drift.curve();
    expect(drift.at(-1)!).toBeLessThan(drift[0]!);
    // At the reference's inputs the error is exactly a tenth of the sample part of the output.
    const pure = await compareTrajectories(
      toy(
        (x) => 0.5 * x,
        (x) => 0.5 * x,
      ),
      toy(
        (x) => 0.55 * x,
        (x) => 0.55 * x,
      ),
      plan(),
    );
    for (const db of pure.teacher.curve()) expect(db).toBeCloseTo(20, 4);
  });

  it("do not depend on how seeds are grouped", async () => {
    const rival = toy(
      (x, c) => 0.51 * x + 0.1 * (c + 1),
      (x) => 0.5 * x,
    );
    const one = await compareTrajectories(reference, rival, plan({ batch: 1 }));
    const all = await compareTrajectories(reference, rival, plan({ batch: 5 }));
    expect(one.psnr).toEqual(all.psnr);
    one.teacher.curve().forEach((db, i) => {
      expect(db).toBeCloseTo(all.teacher.at(i), 10);
    });
  });

  it("give both sides the same noise where the sampler draws some", async () => {
    const scheduler = createScheduler(
      { ...CONFIG, _class_name: "EulerAncestralDiscreteScheduler" },
      { steps: 4 },
    );
    expect(scheduler.usesNoise(0)).toBe(true);
    const record = await compareTrajectories(reference, reference, plan({ scheduler }));
    expect(record.drift.curve()).toEqual(Array(4).fill(SQNR_CAP_DB));
  });

  it("survive a side that returns nonsense", async () => {
    const broken = toy(
      () => Number.NaN,
      () => Number.NaN,
    );
    const record = await compareTrajectories(reference, broken, plan());
    expect(record.teacher.mean()).toBe(-SQNR_CAP_DB);
    expect(record.psnr.every(Number.isFinite)).toBe(true);
    const floor = noiseFloor([
      { name: "x", result: await probePredictor(reference, record.probe, 2.5, (p) => p.reference) },
    ]);
    const result = settingResult(SETTING, record, floor, record.timesteps);
    expect(JSON.parse(JSON.stringify(result))).toEqual(result);
    expect(result.sqnr.lossless).toBe(false);
    expect(result.conditioning?.follows).toBe(false);
  });
});

describe("conditioning test", () => {
  it("catches a candidate that ignores its condition although its SQNR is high", async () => {
    const strong = toy(
      (x) => x + 0.01,
      (x) => x,
    );
    const deaf = toy(
      (x) => x,
      (x) => x,
    );
    const record = await compareTrajectories(strong, deaf, plan({ guidance: 1 }));
    const floor = noiseFloor([
      { name: "none", result: await probePredictor(strong, record.probe, 1, (p) => p.reference) },
    ]);
    const result = settingResult({ ...SETTING, guidance: 1 }, record, floor, record.timesteps);
    expect(result.sqnr.mean).toBeGreaterThan(30);
    expect(result.conditioning).toMatchObject({ follows: false, ratio: 0 });
    const same = await compareTrajectories(strong, strong, plan({ guidance: 1 }));
    expect(settingResult(SETTING, same, floor, same.timesteps).conditioning).toMatchObject({
      follows: true,
      ratio: 1,
    });
  });
});

describe("noise floor", () => {
  it("is the worst variant at every step, and marks what lies within 3 dB of it", async () => {
    const close = toy(
      (x, c) => 0.5 * x * (1 + 1e-4) + 0.1 * (c + 1),
      (x) => 0.5 * x * (1 + 1e-4),
    );
    const record = await compareTrajectories(reference, close, plan());
    const same = await probePredictor(reference, record.probe, 2.5, (p) => p.reference);
    const noisy = await probePredictor(close, record.probe, 2.5, (p) => p.reference);
    const floor = noiseFloor([
      { name: "same", result: same },
      { name: "noisy", result: noisy },
    ]);
    expect(same.worst).toBe(SQNR_CAP_DB);
    expect(floor.steps).toEqual(noisy.steps);
    expect(noisy.maxAbs).toBeGreaterThan(0);
    const judged = settingResult(SETTING, record, floor, record.timesteps);
    expect(judged.sqnr.lossless).toBe(true);
    const strict = noiseFloor([{ name: "same", result: same }]);
    expect(settingResult(SETTING, record, strict, record.timesteps).sqnr.lossless).toBe(false);
    expect(agreementOf(same, judged, floor).agrees).toBe(true);
    expect(agreementOf({ ...same, mean: 10 }, judged, floor).agrees).toBe(false);
  });

  it("sees the same numbers when samples run one at a time", async () => {
    const record = await compareTrajectories(reference, reference, plan());
    const alone = await probePredictor(split(reference, 1), record.probe, 2.5, (p) => p.reference);
    // The toy looks at the place in the batch only through its condition.
    expect(alone.worst).toBe(SQNR_CAP_DB);
  });
});

describe("predictions", () => {
  it("are guided as u + g (c - u)", () => {
    const p = {
      conditional: Float32Array.of(3, 1),
      unconditional: Float32Array.of(1, 1),
      variance: null,
    };
    expect([...guided(p, 2)]).toEqual([5, 1]);
    expect(guided(p, 1)).toBe(p.conditional);
    expect(guided({ ...p, unconditional: null }, 7)).toBe(p.conditional);
  });
  it("with a learned variance are taken apart per sample", () => {
    const { mean, variance } = separate(Float32Array.of(1, 2, 8, 9, 3, 4, 6, 7), 2, 2);
    expect([...mean]).toEqual([1, 2, 3, 4]);
    expect([...variance!]).toEqual([8, 9, 6, 7]);
    expect(separate(Float32Array.of(1, 2), 1, 2).variance).toBeNull();
    expect(() => separate(Float32Array.of(1, 2, 3), 1, 2)).toThrow(/returned 3 numbers/);
  });
});

describe("settings", () => {
  const base = { sampler: "ddim", steps: 20, guidance: 2.5, effort: "full", guidable: true } as const;
  it("cover another step count, guidance 1 and another sampler with fewer seeds", () => {
    const { settings, omitted } = planSettings(base);
    expect(settings.map((s) => [s.name, s.sampler, s.steps, s.guidance, s.seeds])).toEqual([
      ["main", "ddim", 20, 2.5, 16],
      ["steps", "ddim", 10, 2.5, 8],
      ["guidance-1", "ddim", 20, 1, 8],
      ["sampler", "dpm-solver++", 20, 2.5, 8],
    ]);
    expect(omitted).toEqual([]);
  });
  it("say what does not apply", () => {
    const flow = planSettings({ ...base, sampler: "flow-euler", guidable: false, steps: 4 });
    expect(flow.omitted.map((o) => o.setting)).toEqual(["guidance-1", "sampler"]);
    expect(flow.settings.find((s) => s.name === "steps")?.steps).toBe(8);
    expect(planSettings({ ...base, effort: "quick" }).settings).toHaveLength(1);
    expect(planSettings({ ...base, seeds: 3, settings: ["steps"] }).settings.map((s) => s.seeds)).toEqual([
      3, 2,
    ]);
  });
});
