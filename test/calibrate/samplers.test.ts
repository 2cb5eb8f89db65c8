import { describe, expect, it } from "vitest";
import {
  createScheduler,
  type Prediction,
  type ScheduleOverrides,
  type Scheduler,
} from "../../src/calibrate/schedulers/index.ts";
import { createRng, gaussian } from "../../src/numeric/rng.ts";
import { mean, variance } from "../../src/numeric/stats.ts";

/** Data is one Gaussian, so the ideal denoiser and the end of every trajectory are known in closed form. */
const MU = 0.4;
const SD = 0.25;

interface Point {
  readonly alpha: number;
  readonly sigma: number;
}

/** Signal and noise at a fractional training timestep of the scaled-linear schedule, computed independently. */
const bars: number[] = [];
{
  let product = 1;
  for (let i = 0; i < 1000; i++) {
    const root = Math.sqrt(0.00085) + ((Math.sqrt(0.012) - Math.sqrt(0.00085)) * i) / 999;
    bars.push((product *= 1 - root * root));
  }
}
function vp(t: number): Point {
  const low = Math.min(Math.floor(t), 998);
  const ratio = (k: number) => Math.sqrt((1 - bars[k]!) / bars[k]!);
  const s = ratio(low) + (ratio(low + 1) - ratio(low)) * (t - low);
  return { alpha: 1 / Math.sqrt(1 + s * s), sigma: s / Math.sqrt(1 + s * s) };
}
const flow = (t: number): Point => ({ alpha: 1 - t / 1000, sigma: t / 1000 });

// Bounds: a first-order sampler of 100 steps loses up to 4 % of the spread here; the jump from the last sigma to 0 keeps
// 0.7 % of it at any number of steps.

/** What the ideal denoiser answers at a noisy value. */
function ideal(kind: Prediction, x: number, { alpha, sigma }: Point): number {
  const spread = alpha * alpha * SD * SD + sigma * sigma;
  const noise = (sigma * (x - alpha * MU)) / spread;
  const clean = MU + (alpha * SD * SD * (x - alpha * MU)) / spread;
  switch (kind) {
    case "epsilon":
      return noise;
    case "sample":
      return clean;
    case "v_prediction":
      return alpha * noise - sigma * clean;
    case "flow_prediction":
      return noise - clean;
  }
}

const BASE = {
  beta_schedule: "scaled_linear",
  beta_start: 0.00085,
  beta_end: 0.012,
  clip_sample: false,
  num_train_timesteps: 1000,
};

function sample(plan: Scheduler, start: Float32Array, seed = 0): Float64Array {
  const at = plan.prediction === "flow_prediction" ? flow : vp;
  const run = plan.start();
  let x: Float64Array = Float64Array.from(start, (v) => v * plan.initNoiseSigma);
  for (const [i, t] of plan.timesteps.entries()) {
    const input = plan.scaleInput(x, i);
    const output = input.map((v) => ideal(plan.prediction, v, at(t)));
    const noise = plan.usesNoise(i) ? gaussian(createRng(seed, i), x.length) : null;
    x = run.step(output, i, x, noise === null ? {} : { noise });
  }
  return x;
}

/** The exact end of the probability-flow trajectory from a starting point, at the noise level the sampler ends with. */
function exact(plan: Scheduler, start: Float32Array): Float64Array {
  const flowing = plan.prediction === "flow_prediction";
  const point = (s: number): Point =>
    flowing
      ? { alpha: 1 - s, sigma: s }
      : { alpha: 1 / Math.sqrt(1 + s * s), sigma: s / Math.sqrt(1 + s * s) };
  const spread = ({ alpha, sigma }: Point) => Math.sqrt(alpha * alpha * SD * SD + sigma * sigma);
  const first = point(plan.sigmas[0]!);
  const last = point(plan.sigmas[plan.sigmas.length - 1]!);
  // Samplers in sigma space keep x unscaled; at their first point x is sigma times the variance-preserving one.
  const scale = plan.initNoiseSigma > 1.001 ? first.alpha * plan.initNoiseSigma : 1;
  return Float64Array.from(
    start,
    (v) => last.alpha * MU + (spread(last) * (v * scale - first.alpha * MU)) / spread(first),
  );
}

const START = Float32Array.from([-2, -0.7, 0, 0.3, 1.1, 2.4]);

const predictions: readonly Prediction[] = ["epsilon", "v_prediction", "sample"];
const deterministic: readonly (readonly [string, ScheduleOverrides])[] = [
  ["ddim", { sampler: "ddim" }],
  ["pndm", { sampler: "pndm" }],
  ["euler", { sampler: "euler" }],
  ["euler karras", { sampler: "euler", config: { use_karras_sigmas: true } }],
  ["euler exponential", { sampler: "euler", config: { use_exponential_sigmas: true } }],
  ["heun", { sampler: "heun" }],
  ["dpm 1", { sampler: "dpm-solver++", config: { solver_order: 1 } }],
  ["dpm 2", { sampler: "dpm-solver++" }],
  ["dpm 2 heun", { sampler: "dpm-solver++", config: { solver_type: "heun" } }],
  ["dpm 3", { sampler: "dpm-solver++", config: { solver_order: 3 } }],
  ["dpm 2 lu", { sampler: "dpm-solver++", config: { use_lu_lambdas: true, final_sigmas_type: "zero" } }],
  [
    "dpm 2 karras to zero",
    { sampler: "dpm-solver++", config: { use_karras_sigmas: true, final_sigmas_type: "zero" } },
  ],
  ["unipc 2", { sampler: "unipc" }],
  ["unipc 1", { sampler: "unipc", config: { solver_order: 1 } }],
  ["unipc 3 bh1", { sampler: "unipc", config: { solver_order: 3, solver_type: "bh1" } }],
  ["unipc 2 on noise", { sampler: "unipc", config: { predict_x0: false, final_sigmas_type: "sigma_min" } }],
];

describe("deterministic samplers reach the exact end", () => {
  for (const [name, overrides] of deterministic) {
    it.each(predictions)(`${name} %s`, (prediction) => {
      const error = (steps: number): number => {
        const plan = createScheduler(BASE, { ...overrides, prediction, steps });
        const want = exact(plan, START);
        return Math.max(...sample(plan, START).map((v, i) => Math.abs(v - want[i]!)));
      };
      expect(error(100)).toBeLessThan(0.05);
      expect(error(400)).toBeLessThan(0.015);
    });
  }

  it.each([
    ["flow-euler", { sampler: "flow-euler", config: { shift: 3 } }],
    [
      "flow-euler dynamic",
      { sampler: "flow-euler", sequenceLength: 1024, config: { use_dynamic_shifting: true } },
    ],
    ["flow dpm", { sampler: "dpm-solver++", config: { use_flow_sigmas: true, flow_shift: 2 } }],
    ["flow unipc", { sampler: "unipc", config: { use_flow_sigmas: true, flow_shift: 2 } }],
  ] as const)("%s", (_, overrides) => {
    const plan = createScheduler(BASE, { ...overrides, prediction: "flow_prediction", steps: 100 });
    const got = sample(plan, START);
    const want = exact(plan, START);
    expect(Math.max(...got.map((v, i) => Math.abs(v - want[i]!)))).toBeLessThan(0.04);
  });

  it("gains orders of accuracy with second-order steps", () => {
    const error = (sampler: string, steps: number): number => {
      const plan = createScheduler(BASE, {
        sampler,
        steps,
        config: { use_karras_sigmas: true, final_sigmas_type: "sigma_min" },
      });
      const want = exact(plan, START);
      return Math.max(...sample(plan, START).map((v, i) => Math.abs(v - want[i]!)));
    };
    expect(error("heun", 40)).toBeLessThan(error("euler", 40) / 5);
    expect(error("heun", 80)).toBeLessThan(error("heun", 40) / 2.5);
    expect(error("dpm-solver++", 40)).toBeLessThan(error("euler", 40) / 3);
  });
});

describe("stochastic samplers reach the right distribution", () => {
  it.each([
    ["ddpm", { sampler: "ddpm" }],
    ["ddpm large", { sampler: "ddpm", config: { variance_type: "fixed_large" } }],
    ["ddpm small log", { sampler: "ddpm", config: { variance_type: "fixed_small_log" } }],
    ["ddim eta 1", { sampler: "ddim", eta: 1 }],
    ["euler-ancestral", { sampler: "euler-ancestral" }],
    [
      "sde 1",
      {
        sampler: "dpm-solver++",
        config: { algorithm_type: "sde-dpmsolver++", solver_order: 1, final_sigmas_type: "zero" },
      },
    ],
    [
      "sde 2",
      { sampler: "dpm-solver++", config: { algorithm_type: "sde-dpmsolver++", final_sigmas_type: "zero" } },
    ],
    [
      "sde 3",
      {
        sampler: "dpm-solver++",
        config: { algorithm_type: "sde-dpmsolver++", solver_order: 3, final_sigmas_type: "zero" },
      },
    ],
  ] as const)("%s", (_, overrides) => {
    const plan = createScheduler(BASE, { ...overrides, steps: 100 });
    const got = sample(plan, gaussian(createRng(1, "start"), 6000), 7);
    expect(Math.abs(mean(got) - MU)).toBeLessThan(0.02);
    expect(Math.abs(Math.sqrt(variance(got)) - SD)).toBeLessThan(0.035);
  });

  it("learned variance lies between its bounds", () => {
    const step = (variance: number) => {
      const plan = createScheduler(BASE, {
        sampler: "ddpm",
        steps: 10,
        config: { variance_type: "learned_range" },
      });
      expect(plan.learnsVariance).toBe(true);
      const x = Float64Array.from([0.5]);
      const extras = { noise: Float32Array.from([1]), variance: Float32Array.from([variance]) };
      return plan.start().step(Float32Array.from([0.1]), 3, x, extras)[0]!;
    };
    const fixed = (type: string) =>
      createScheduler(BASE, { sampler: "ddpm", steps: 10, config: { variance_type: type } })
        .start()
        .step(Float32Array.from([0.1]), 3, Float64Array.from([0.5]), { noise: Float32Array.from([1]) })[0]!;
    expect(step(-1)).toBeCloseTo(fixed("fixed_small"), 6);
    expect(step(1)).toBeCloseTo(fixed("fixed_large"), 6);
    expect(step(0)).toBeGreaterThan(step(-1));
    expect(step(0)).toBeLessThan(step(1));
  });
});

describe("limits on the predicted sample", () => {
  it("clips to the range", () => {
    const plan = createScheduler(
      { ...BASE, clip_sample: true, clip_sample_range: 0.5, prediction_type: "sample" },
      { sampler: "ddim", steps: 1, config: { set_alpha_to_one: true } },
    );
    const out = plan.start().step(Float32Array.from([3, -3, 0.25]), 0, Float64Array.from([0, 0, 0]));
    expect(Array.from(out)).toEqual([0.5, -0.5, 0.25]);
  });

  it("thresholds each sample of the batch by its own quantile", () => {
    const config = {
      ...BASE,
      thresholding: true,
      sample_max_value: 10,
      dynamic_thresholding_ratio: 1,
      prediction_type: "sample",
    };
    const plan = createScheduler(config, { sampler: "ddim", steps: 1 });
    const out = plan.start(2).step(Float32Array.from([4, -2, 0.5, -0.25]), 0, new Float64Array(4));
    expect(Array.from(out)).toEqual([1, -0.5, 0.5, -0.25]);
  });

  it("keeps zero terminal SNR finite", () => {
    for (const sampler of ["ddim", "euler", "dpm-solver++"]) {
      const config = {
        ...BASE,
        rescale_betas_zero_snr: true,
        timestep_spacing: "trailing",
        prediction_type: "v_prediction",
      };
      const plan = createScheduler(config, { sampler, steps: 5 });
      expect(sample(plan, START).every(Number.isFinite)).toBe(true);
    }
    const plan = createScheduler(
      { ...BASE, rescale_betas_zero_snr: true, timestep_spacing: "trailing" },
      { sampler: "euler", steps: 5 },
    );
    expect(plan.sigmas[0]).toBeCloseTo(4096, 0);
  });
});

describe("configurations that cannot be", () => {
  const code = (run: () => unknown): unknown => {
    try {
      run();
    } catch (e) {
      return (e as { code?: string }).code;
    }
    return null;
  };
  it.each([
    ["SCHEDULER_UNKNOWN", { ...BASE, _class_name: "DDIMSheduler" }, {}],
    ["SCHEDULER_UNKNOWN", BASE, { sampler: "eulr" }],
    ["CONFIG_INVALID", { ...BASE, beta_schedule: "quadratic" }, { sampler: "ddim" }],
    ["CONFIG_INVALID", { ...BASE, num_train_timesteps: 1e9 }, { sampler: "ddim" }],
    ["CONFIG_INVALID", { ...BASE, beta_shedule: "linear" }, { sampler: "ddim" }],
    ["CONFIG_INVALID", { ...BASE, trained_betas: [0.1, 0.2] }, { sampler: "ddim" }],
    ["CONFIG_INVALID", BASE, {}],
    ["CONFIG_INVALID", [], { sampler: "ddim" }],
    ["SCHEDULER_OPTION_UNSUPPORTED", { ...BASE, use_beta_sigmas: true }, { sampler: "euler" }],
    ["SCHEDULER_OPTION_UNSUPPORTED", { ...BASE, algorithm_type: "dpmsolver" }, { sampler: "dpm-solver++" }],
    ["SCHEDULER_OPTION_UNSUPPORTED", { ...BASE, prediction_type: "flow_prediction" }, { sampler: "ddim" }],
    ["SCHEDULER_OPTION_UNSUPPORTED", { ...BASE, _class_name: "PNDMScheduler" }, {}],
    ["CONFIG_INVALID", { ...BASE, sigma_min: 0 }, { sampler: "euler" }],
    ["SCHEDULE_IMPOSSIBLE", BASE, { sampler: "ddim", steps: 0 }],
    ["SCHEDULE_IMPOSSIBLE", BASE, { sampler: "ddim", steps: 2000 }],
    [
      "SCHEDULE_IMPOSSIBLE",
      { ...BASE, steps_offset: 1, timestep_spacing: "leading" },
      { sampler: "ddim", steps: 1000 },
    ],
    ["SCHEDULE_IMPOSSIBLE", BASE, { sampler: "lcm", steps: 51 }],
    ["SCHEDULE_IMPOSSIBLE", { ...BASE, use_dynamic_shifting: true }, { sampler: "flow-euler" }],
  ] as const)("%s %#", (expected, config, overrides) => {
    expect(code(() => createScheduler(config, overrides))).toBe(expected);
  });

  it("names the nearest class", () => {
    try {
      createScheduler({ ...BASE, _class_name: "EulerDiscretScheduler" });
      expect.unreachable();
    } catch (e) {
      const { diagnostic } = e as { diagnostic: { details: { nearest: string } } };
      expect(diagnostic.details.nearest).toBe("EulerDiscreteScheduler");
    }
  });

  it("accepts fields of other classes and private ones", () => {
    const plan = createScheduler(
      {
        ...BASE,
        _class_name: "PNDMScheduler",
        _diffusers_version: "0.30.0",
        skip_prk_steps: true,
        solver_type: "bh2",
        sample_max_value: 2,
        flow_shift: null,
      },
      { steps: 4 },
    );
    expect(Array.from(plan.timesteps)).toEqual([750, 500, 500, 250, 0]);
  });
});
