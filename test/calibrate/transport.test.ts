import { describe, expect, it } from "vitest";
import type { Denoiser } from "../../src/calibrate/denoiser.ts";
import { calibrationSeeds, denseFrom, floats } from "../../src/calibrate/index.ts";
import { createScheduler } from "../../src/calibrate/schedulers/index.ts";
import { jitteredTimestep } from "../../src/calibrate/statistics/jitter.ts";
import { chooseCalls } from "../../src/calibrate/statistics/timesteps.ts";
import { measureTransport } from "../../src/calibrate/transport.ts";

const CONFIG = {
  _class_name: "DDIMScheduler",
  num_train_timesteps: 1000,
  beta_start: 0.0001,
  beta_end: 0.02,
  beta_schedule: "linear",
  clip_sample: false,
  set_alpha_to_one: true,
  prediction_type: "epsilon",
};
const STEPS = 6;
const SHAPE = [1, 4, 4];

/** ε = slope · x + 1, so that everything a step does is known. */
function linear(slope: number): Denoiser & { readonly runs: () => number } {
  let runs = 0;
  const port = (name: string, shape: (string | number)[]) => ({ name, dtype: "f32" as const, shape });
  return {
    roles: {
      sample: port("sample", ["n", ...SHAPE]),
      timestep: { ...port("timestep", []), layout: "scalar" },
      conditions: [],
      output: port("out", ["n", ...SHAPE]),
      fixedBatch: null,
    },
    async run(feeds) {
      runs++;
      const x = feeds.get("sample")!;
      return denseFrom(
        "f32",
        x.dims,
        floats(x).map((v) => slope * v + 1),
      );
    },
    runs: () => runs,
  };
}

const plan = (denoiser: Denoiser, batch = 2) => ({
  denoiser,
  scheduler: createScheduler(CONFIG, { steps: STEPS }),
  guidance: { scale: 1 },
  conditions: { conditions: [{ name: "", inputs: new Map() }], unconditional: null, source: "none" as const },
  shape: SHAPE,
  batch,
});

/** ᾱ at the timesteps of the plan, then 1 for the clean sample. */
function alphas(): number[] {
  const out: number[] = [];
  for (const t of createScheduler(CONFIG, { steps: STEPS }).timesteps) {
    let a = 1;
    for (let i = 0; i <= t; i++) a *= 1 - (0.0001 + ((0.02 - 0.0001) * i) / 999);
    out.push(a);
  }
  return [...out, 1];
}

/** Coefficients of one DDIM step x' = A x + B ε (Song et al. 2021, eq. 12 with η = 0). */
function coefficients(a: number, next: number): readonly [number, number] {
  const ratio = Math.sqrt(next / a);
  return [ratio, Math.sqrt(1 - next) - ratio * Math.sqrt(1 - a)];
}

describe("error transport", () => {
  it("without feedback is the squared change of the noise scale", async () => {
    // Samples are float32 and large here: a perturbation of full size stands clear of their rounding.
    const { gains, weights } = await measureTransport(plan(linear(0)), calibrationSeeds(3, 3), {
      relative: 1,
    });
    const sigma = alphas().map((a) => Math.sqrt((1 - a) / a));
    for (let i = 0; i < STEPS; i++) expect(gains[i]! / (sigma[i]! - sigma[i + 1]!) ** 2).toBeCloseTo(1, 2);
    expect(weights.reduce((a, b) => a + b, 0) / STEPS).toBeCloseTo(1, 9);
    expect(weights[0]! / weights[5]!).toBeCloseTo(gains[0]! / gains[5]!, 9);
  });

  it("of a linear model is the product of what the later steps do", async () => {
    const slope = 0.7;
    const { gains } = await measureTransport(plan(linear(slope)), calibrationSeeds(3, 3));
    const a = alphas();
    const steps = Array.from({ length: STEPS }, (_, i) => coefficients(a[i]!, a[i + 1]!));
    for (let i = 0; i < STEPS; i++) {
      const later = steps.slice(i + 1).reduce((p, [A, B]) => p * (A + B * slope), 1);
      expect(gains[i]! / (steps[i]![1] * later) ** 2).toBeCloseTo(1, 2);
    }
  });

  it("transports the error of a candidate, and runs nothing twice", async () => {
    const model = linear(0.5);
    const candidate = linear(0.51);
    const found = await measureTransport(plan(model), calibrationSeeds(3, 3), { candidate });
    const groups = 2;
    expect(model.runs()).toBe(groups * (STEPS + (STEPS * (STEPS - 1)) / 2));
    expect(candidate.runs()).toBe(groups * STEPS);
    const noise = await measureTransport(plan(linear(0.5)), calibrationSeeds(3, 3));
    for (let i = 0; i < STEPS; i++) expect(found.gains[i]! / noise.gains[i]!).toBeCloseTo(1, 2);
  });
});

describe("chosen calls", () => {
  const schedule = { timesteps: [900, 700, 500, 300, 100], trained: 1000, seed: 1, gains: [1, 1, 1, 1, 6] };

  it("are all of them unless asked otherwise", () => {
    expect(chooseCalls({}, schedule)).toEqual(
      schedule.timesteps.map((timestep, index) => ({ index, timestep, weight: 1 })),
    );
  });

  it("are the nearest to a list, and weigh what several stand for", () => {
    expect(chooseCalls({ timesteps: [0, 120, 710] }, schedule)).toEqual([
      { index: 1, timestep: 700, weight: 2 / 3 },
      { index: 4, timestep: 100, weight: 4 / 3 },
    ]);
  });

  it("follow a normal distribution skewed to clean images", () => {
    const timesteps = Array.from({ length: 1000 }, (_, i) => 999 - i);
    const calls = chooseCalls({ timesteps: "normal" }, { ...schedule, timesteps });
    const drawn = calls.flatMap((c) =>
      Array<number>(Math.round((c.weight * 1000) / calls.length)).fill(c.timestep),
    );
    expect(drawn).toHaveLength(1000);
    const share = (low: number, high: number) => drawn.filter((t) => t >= low && t < high).length / 1000;
    // Φ(0) − Φ(−0.5), Φ(0.5) − Φ(0), and the tail below 0 gathers at the cleanest step.
    expect(share(200, 400)).toBeCloseTo(0.191, 1);
    expect(share(400, 600)).toBeCloseTo(0.191, 1);
    expect(share(0, 1)).toBeCloseTo(0.159, 1);
  });

  it("are drawn and weighed by measured sensitivity", () => {
    const weighed = chooseCalls({ weights: "measured" }, schedule);
    expect(weighed.map((c) => c.weight)).toEqual([0.5, 0.5, 0.5, 0.5, 3]);
    let last = 0;
    for (let seed = 0; seed < 200; seed++) {
      const calls = chooseCalls({ timesteps: "measured" }, { ...schedule, seed });
      const at = calls.find((c) => c.index === 4);
      last += ((at?.weight ?? 0) * 5) / calls.length;
    }
    expect(last / (200 * 5)).toBeCloseTo(0.6, 1);
  });
});

describe("jittered timesteps", () => {
  it("stay between the neighbours, on both sides", () => {
    const timesteps = [900, 700, 300];
    const seen = Array.from({ length: 200 }, (_, group) =>
      jitteredTimestep({ amount: 0.5, timesteps, seed: 1 }, 1, group),
    );
    expect(Math.max(...seen)).toBeLessThanOrEqual(800);
    expect(Math.max(...seen)).toBeGreaterThan(780);
    expect(Math.min(...seen)).toBeGreaterThanOrEqual(500);
    expect(Math.min(...seen)).toBeLessThan(520);
    expect(jitteredTimestep({ amount: 0, timesteps, seed: 1 }, 1, 0)).toBe(700);
  });
});
