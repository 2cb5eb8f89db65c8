import { alphaBars } from "./betas.ts";
import { cleanSample, combine, impliedNoise, limitSample, required } from "./prediction.ts";
import { spacedTimesteps } from "./spacing.ts";
import type { ScheduleOptions, Scheduler, SchedulerConfig } from "./types.ts";

/**
 * Denoising diffusion implicit models (Song et al. 2020, equation 12). `eta` 0 is deterministic, 1 is ancestral. The
 * noise direction is not recomputed from a clipped clean sample.
 */
export function ddim(config: SchedulerConfig, options: ScheduleOptions): Scheduler {
  const train = config.num_train_timesteps;
  const bars = alphaBars(config);
  const timesteps = spacedTimesteps({
    spacing: config.timestep_spacing,
    train,
    steps: options.steps,
    offset: config.steps_offset,
  });
  const stride = Math.floor(train / options.steps);
  const final = config.set_alpha_to_one ? 1 : bars[0]!;
  const before = (i: number): number => {
    const t = timesteps[i]! - stride;
    return t >= 0 ? bars[t]! : final;
  };
  const deviation = (i: number): number => {
    const a = bars[timesteps[i]!]!;
    const p = before(i);
    return options.eta * Math.sqrt(((1 - p) / (1 - a)) * Math.max(1 - a / p, 0));
  };
  const sigma = (a: number): number => Math.sqrt((1 - a) / a);
  return {
    sampler: "ddim",
    prediction: config.prediction_type,
    steps: options.steps,
    timesteps,
    sigmas: Float64Array.from({ length: timesteps.length + 1 }, (_, i) =>
      i < timesteps.length ? sigma(bars[timesteps[i]!]!) : sigma(before(i - 1)),
    ),
    initNoiseSigma: 1,
    learnsVariance: false,
    usesNoise: (i) => deviation(i) > 0,
    scaleInput: (x) => Float32Array.from(x),
    start: (batch = 1) => ({
      step(output, i, x, extras) {
        const a = bars[timesteps[i]!]!;
        const p = before(i);
        const alpha = Math.sqrt(a);
        const beta = Math.sqrt(1 - a);
        const x0 = limitSample(cleanSample(config.prediction_type, output, x, alpha, beta), config, batch);
        const noise = impliedNoise(config.prediction_type, output, x, alpha, beta);
        const s = deviation(i);
        const direction = Math.sqrt(Math.max(1 - p - s * s, 0));
        if (s === 0) return combine(x.length, [Math.sqrt(p), x0], [direction, noise]);
        return combine(x.length, [Math.sqrt(p), x0], [direction, noise], [s, required(extras?.noise)]);
      },
    }),
  };
}
