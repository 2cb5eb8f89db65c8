import { positiveAlphaBars, trainingSigmas } from "./betas.ts";
import { cleanSample, combine, required } from "./prediction.ts";
import { append, exponentialSigmas, interpolate, respaced, timestepOf } from "./sigmas.ts";
import { spacedTimesteps } from "./spacing.ts";
import type { Numbers, ScheduleOptions, Scheduler, SchedulerConfig } from "./types.ts";

const f32 = Math.fround;

/** Timesteps and sigmas (one more, ending the trajectory) shared by the samplers in sigma space. */
export function sigmaSchedule(
  config: SchedulerConfig,
  options: ScheduleOptions,
): { timesteps: Float64Array; sigmas: Float64Array } {
  const training = trainingSigmas(positiveAlphaBars(config));
  let timesteps: Float64Array = spacedTimesteps({
    spacing: config.timestep_spacing,
    train: config.num_train_timesteps,
    steps: options.steps,
    offset: config.steps_offset,
    fractional: true,
  }).map(f32);
  let sigmas: Float64Array = timesteps.map((t) => interpolate(training, t));
  if (config.interpolation_type === "log_linear") {
    const all = exponentialSigmas(training[training.length - 1]!, training[0]!, timesteps.length + 1);
    sigmas = all.subarray(0, timesteps.length);
  }
  const spaced = respaced(config, sigmas[0]!, sigmas[sigmas.length - 1]!, sigmas.length);
  if (spaced !== null) {
    sigmas = spaced;
    timesteps = sigmas.map((s) => timestepOf(s, training));
  }
  if (config.timestep_type === "continuous" && config.prediction_type === "v_prediction") {
    timesteps = sigmas.map((s) => 0.25 * Math.log(s));
  }
  const final = config.final_sigmas_type === "sigma_min" ? training[0]! : 0;
  return { timesteps, sigmas: append(sigmas, final).map(f32) };
}

/**
 * Moves `x` by `length` (a float32 difference of sigmas) along its slope `(x - x0) / sigma`. Published trajectories have
 * that rounding: across the first step of a cosine schedule, from 20,000 to 4, it is what is left in the fourth digit.
 */
function slide(x: Numbers, x0: Numbers, sigma: number, length: number): Float64Array {
  const ratio = length / sigma;
  return combine(x.length, [1 + ratio, x], [-ratio, x0]);
}

/** Starting noise: the largest sigma, or with `leading` the total deviation of data and noise. */
export function startingSigma(config: SchedulerConfig, sigmas: Float64Array): number {
  const max = sigmas.reduce((a, b) => Math.max(a, b), 0);
  return config.timestep_spacing === "leading" ? Math.sqrt(max * max + 1) : max;
}

/** Variance-preserving input of a sample in sigma space. */
export function scaleBySigma(x: Numbers, sigma: number): Float32Array {
  const scale = 1 / Math.sqrt(sigma * sigma + 1);
  return Float32Array.from(x, (v) => v * scale);
}

/** Clean sample implied by an output in sigma space, where `x = x0 + sigma * noise`. */
export function cleanInSigmaSpace(
  config: SchedulerConfig,
  output: Numbers,
  x: Numbers,
  sigma: number,
): Float64Array {
  const alpha = 1 / Math.sqrt(sigma * sigma + 1);
  const scaled = Float64Array.from(x, (v) => v * alpha);
  return cleanSample(config.prediction_type, output, scaled, alpha, sigma * alpha);
}

/** Euler steps of the probability-flow equation (Karras et al. 2022, algorithm 1 without correction). */
export function euler(config: SchedulerConfig, options: ScheduleOptions): Scheduler {
  const { timesteps, sigmas } = sigmaSchedule(config, options);
  return {
    sampler: "euler",
    prediction: config.prediction_type,
    steps: options.steps,
    timesteps,
    sigmas,
    initNoiseSigma: startingSigma(config, sigmas),
    learnsVariance: false,
    usesNoise: () => false,
    scaleInput: (x, i) => scaleBySigma(x, sigmas[i]!),
    start: () => ({
      step(output, i, x) {
        const sigma = sigmas[i]!;
        const x0 = cleanInSigmaSpace(config, output, x, sigma);
        return slide(x, x0, sigma, f32(sigmas[i + 1]! - sigma));
      },
    }),
  };
}

/** Euler steps that go below the next sigma and add noise back up to it (ancestral sampling). */
export function eulerAncestral(config: SchedulerConfig, options: ScheduleOptions): Scheduler {
  const { timesteps, sigmas } = sigmaSchedule(config, options);
  // Float32 like the sigmas: `down` is a small difference of large squares, and published trajectories have it so.
  const split = (i: number): { up: number; down: number } => {
    const from = f32(sigmas[i]! ** 2);
    const to = f32(sigmas[i + 1]! ** 2);
    const up = f32(Math.sqrt(Math.max(f32(f32(to * f32(from - to)) / from), 0)));
    return { up, down: f32(Math.sqrt(Math.max(f32(to - f32(up * up)), 0))) };
  };
  return {
    sampler: "euler-ancestral",
    prediction: config.prediction_type,
    steps: options.steps,
    timesteps,
    sigmas,
    initNoiseSigma: startingSigma(config, sigmas),
    learnsVariance: false,
    usesNoise: (i) => split(i).up > 0,
    scaleInput: (x, i) => scaleBySigma(x, sigmas[i]!),
    start: () => ({
      step(output, i, x, extras) {
        const sigma = sigmas[i]!;
        const { up, down } = split(i);
        const moved = slide(x, cleanInSigmaSpace(config, output, x, sigma), sigma, f32(down - sigma));
        return up === 0 ? moved : combine(x.length, [1, moved], [up, required(extras?.noise)]);
      },
    }),
  };
}
