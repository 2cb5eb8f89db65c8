import { alphaBars } from "./betas.ts";
import { cleanSample, limitSample, required } from "./prediction.ts";
import { spacedTimesteps } from "./spacing.ts";
import type { ScheduleOptions, Scheduler, SchedulerConfig } from "./types.ts";

/** Smallest posterior variance; at the last step it would be 0, whose logarithm is not finite. */
const MIN_VARIANCE = 1e-20;

/**
 * Ancestral sampling of denoising diffusion models (Ho et al. 2020, equation 7) with a stride. Variances: the posterior
 * (`fixed_small`), beta (`fixed_large`), their `_log` spellings, or learned (Nichol and Dhariwal 2021, equation 15).
 */
export function ddpm(config: SchedulerConfig, options: ScheduleOptions): Scheduler {
  const bars = alphaBars(config);
  const timesteps = spacedTimesteps({
    spacing: config.timestep_spacing,
    train: config.num_train_timesteps,
    steps: options.steps,
    offset: config.steps_offset,
  });
  const last = timesteps.length - 1;
  const at = (i: number) => {
    const a = bars[timesteps[i]!]!;
    const p = i < last ? bars[timesteps[i + 1]!]! : 1;
    return { a, p, alpha: a / p, beta: 1 - a / p };
  };
  const variance = config.variance_type ?? "fixed_small";
  const learnsVariance = variance === "learned" || variance === "learned_range";

  /** Standard deviation of the noise of element `k`. */
  const deviation = (i: number): ((learned: number) => number) => {
    const { a, p, beta } = at(i);
    const small = Math.max(((1 - p) / (1 - a)) * beta, MIN_VARIANCE);
    switch (variance) {
      case "fixed_small":
      case "fixed_small_log":
        return () => Math.sqrt(small);
      case "fixed_large":
      case "fixed_large_log":
        return () => Math.sqrt(beta);
      case "learned":
        return (v) => Math.sqrt(Math.max(v, MIN_VARIANCE));
      case "learned_range":
        return (v) => {
          const f = (v + 1) / 2;
          return Math.exp(0.5 * (f * Math.log(beta) + (1 - f) * Math.log(small)));
        };
    }
  };
  return {
    sampler: "ddpm",
    prediction: config.prediction_type,
    steps: options.steps,
    timesteps,
    sigmas: Float64Array.from({ length: last + 2 }, (_, i) => {
      const a = i <= last ? at(i).a : 1;
      return Math.sqrt((1 - a) / a);
    }),
    initNoiseSigma: 1,
    learnsVariance,
    usesNoise: (i) => timesteps[i]! > 0,
    scaleInput: (x) => Float32Array.from(x),
    start: (batch = 1) => ({
      step(output, i, x, extras) {
        const { a, p, alpha, beta } = at(i);
        const x0 = limitSample(
          cleanSample(config.prediction_type, output, x, Math.sqrt(a), Math.sqrt(1 - a)),
          config,
          batch,
        );
        const fromClean = (Math.sqrt(p) * beta) / (1 - a);
        const fromNow = (Math.sqrt(alpha) * (1 - p)) / (1 - a);
        const out = new Float64Array(x.length);
        if (timesteps[i]! === 0) {
          for (let k = 0; k < out.length; k++) out[k] = fromClean * x0[k]! + fromNow * x[k]!;
          return out;
        }
        const noise = required(extras?.noise);
        const spread = deviation(i);
        const learned = extras?.variance;
        if (learnsVariance && learned === undefined)
          throw new Error("this DDPM step needs the learned variance");
        for (let k = 0; k < out.length; k++) {
          out[k] = fromClean * x0[k]! + fromNow * x[k]! + spread(learned?.[k] ?? 0) * noise[k]!;
        }
        return out;
      },
    }),
  };
}
