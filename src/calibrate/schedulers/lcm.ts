import { fail } from "../../diagnostics/index.ts";
import { alphaBars } from "./betas.ts";
import { cleanSample, combine, limitSample, required } from "./prediction.ts";
import type { ScheduleOptions, Scheduler, SchedulerConfig } from "./types.ts";

/** Standard deviation of the data the boundary conditions assume. */
const DATA_SIGMA = 0.5;

/**
 * Multistep sampling of latent consistency models (Luo et al. 2023): each call predicts the clean sample, blended by the
 * boundary conditions, and noise brings it to the next timestep. Timesteps are picked from the distillation schedule.
 */
export function lcm(config: SchedulerConfig, options: ScheduleOptions): Scheduler {
  const bars = alphaBars(config);
  const original = config.original_inference_steps;
  const stride = Math.floor(config.num_train_timesteps / original);
  if (stride < 1 || options.steps > original) {
    fail("SCHEDULE_IMPOSSIBLE", {
      sampler: "lcm",
      steps: options.steps,
      problem: `the distillation schedule has ${original} steps of ${config.num_train_timesteps}`,
      remedy: `ask for at most ${Math.min(original, config.num_train_timesteps)} steps`,
    });
  }
  const timesteps = Float64Array.from({ length: options.steps }, (_, i) => {
    const at = Math.floor((i * original) / options.steps);
    return (original - at) * stride - 1;
  });
  const last = timesteps.length - 1;
  return {
    sampler: "lcm",
    prediction: config.prediction_type,
    steps: options.steps,
    timesteps,
    sigmas: Float64Array.from({ length: last + 2 }, (_, i) => {
      const a = i <= last ? bars[timesteps[i]!]! : 1;
      return Math.sqrt((1 - a) / a);
    }),
    initNoiseSigma: 1,
    learnsVariance: false,
    usesNoise: (i) => i < last,
    scaleInput: (x) => Float32Array.from(x),
    start: (batch = 1) => ({
      step(output, i, x, extras) {
        const a = bars[timesteps[i]!]!;
        const x0 = limitSample(
          cleanSample(config.prediction_type, output, x, Math.sqrt(a), Math.sqrt(1 - a)),
          config,
          batch,
        );
        const t = timesteps[i]! * config.timestep_scaling;
        const skip = DATA_SIGMA ** 2 / (t * t + DATA_SIGMA ** 2);
        const out = t / Math.sqrt(t * t + DATA_SIGMA ** 2);
        if (i === last) return combine(x.length, [out, x0], [skip, x]);
        const p = bars[timesteps[i + 1]!]!;
        const signal = Math.sqrt(p);
        return combine(
          x.length,
          [signal * out, x0],
          [signal * skip, x],
          [Math.sqrt(1 - p), required(extras?.noise)],
        );
      },
    }),
  };
}
