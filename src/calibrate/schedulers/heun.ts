import { cleanInSigmaSpace, scaleBySigma, sigmaSchedule, startingSigma } from "./euler.ts";
import { difference, limitSample } from "./prediction.ts";
import type { ScheduleOptions, Scheduler, SchedulerConfig } from "./types.ts";

/**
 * Heun's second-order steps (Karras et al. 2022, algorithm 1 without churn): two model calls per step, the second at the
 * Euler proposal, and one for the last step, so `2 * steps - 1` calls.
 */
export function heun(config: SchedulerConfig, options: ScheduleOptions): Scheduler {
  const base = sigmaSchedule(config, options);
  const count = base.timesteps.length;
  const calls = 2 * count - 1;
  const twice = (i: number): number => Math.ceil(i / 2);
  const timesteps = Float64Array.from({ length: calls }, (_, i) => base.timesteps[twice(i)]!);
  const sigmas = Float64Array.from({ length: calls + 1 }, (_, i) => base.sigmas[twice(i)]!);
  return {
    sampler: "heun",
    prediction: config.prediction_type,
    steps: options.steps,
    timesteps,
    sigmas,
    initNoiseSigma: startingSigma(config, base.sigmas),
    learnsVariance: false,
    usesNoise: () => false,
    scaleInput: (x, i) => scaleBySigma(x, sigmas[i]!),
    start(batch = 1) {
      let origin: Float64Array | null = null;
      let slope: Float64Array | null = null;
      return {
        step(output, i, x) {
          const sigma = sigmas[i]!;
          const clean = limitSample(cleanInSigmaSpace(config, output, x, sigma), config, batch);
          const here = difference(x, clean, 1 / sigma);
          const out = new Float64Array(x.length);
          if (i % 2 === 0) {
            origin = Float64Array.from(x);
            slope = here;
            const length = Math.fround(sigmas[i + 1]! - sigma);
            for (let k = 0; k < out.length; k++) out[k] = x[k]! + here[k]! * length;
            return out;
          }
          if (origin === null || slope === null) throw new Error("Heun calls must go in order");
          const length = Math.fround(sigma - sigmas[i - 1]!);
          for (let k = 0; k < out.length; k++) {
            out[k] = origin[k]! + ((slope[k]! + here[k]!) / 2) * length;
          }
          return out;
        },
      };
    },
  };
}
