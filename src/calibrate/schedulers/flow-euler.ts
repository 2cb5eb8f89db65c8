import { fail } from "../../diagnostics/index.ts";
import { combine, required } from "./prediction.ts";
import { append, respaced } from "./sigmas.ts";
import { linspace } from "./spacing.ts";
import type { Numbers, ScheduleOptions, Scheduler, SchedulerConfig } from "./types.ts";

/** How a time in (0, 1] is moved towards noise for large images (Esser et al. 2024, section 5.3.2). */
function shifter(config: SchedulerConfig, options: ScheduleOptions): (s: number) => number {
  if (!config.use_dynamic_shifting) return (s) => (config.shift * s) / (1 + (config.shift - 1) * s);
  if (options.sequenceLength === null) {
    return fail("SCHEDULE_IMPOSSIBLE", {
      sampler: "flow-euler",
      steps: options.steps,
      problem: "use_dynamic_shifting needs the number of image tokens",
      remedy: "give sequenceLength, or set use_dynamic_shifting to false and shift to a number",
    });
  }
  const slope =
    (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len);
  const mu = config.base_shift + slope * (options.sequenceLength - config.base_image_seq_len);
  const scale = config.time_shift_type === "linear" ? mu : Math.exp(mu);
  return (s) => scale / (scale + (1 / s - 1));
}

/**
 * Euler steps along the straight paths of flow matching (Lipman et al. 2022; Liu et al. 2022), `x = (1 - s) x0 + s noise`
 * and the model predicting `noise - x0`. The smallest training time is shifted once when the schedule is made and again
 * with the others, as published configurations expect.
 */
export function flowEuler(config: SchedulerConfig, options: ScheduleOptions): Scheduler {
  const train = config.num_train_timesteps;
  const shift = shifter(config, options);
  const edge = (s: number): number => (config.use_dynamic_shifting ? s : shift(s));
  let sigmas: Float64Array = linspace(edge(1), edge(1 / train), options.steps).map(shift);
  if (config.shift_terminal !== null) {
    const stretch = (1 - sigmas[sigmas.length - 1]!) / (1 - config.shift_terminal);
    sigmas = sigmas.map((s) => 1 - (1 - s) / stretch);
  }
  sigmas = respaced(config, sigmas[0]!, sigmas[sigmas.length - 1]!, sigmas.length) ?? sigmas;
  if (config.invert_sigmas) sigmas = sigmas.map((s) => 1 - s);
  const timesteps = sigmas.map((s) => s * train);
  sigmas = append(sigmas, config.invert_sigmas ? 1 : 0);
  return {
    sampler: "flow-euler",
    prediction: "flow_prediction",
    steps: options.steps,
    timesteps,
    sigmas,
    initNoiseSigma: 1,
    learnsVariance: false,
    usesNoise: (i) => config.stochastic_sampling && sigmas[i + 1]! > 0,
    scaleInput: (x) => Float32Array.from(x),
    start: () => ({
      step(output, i, x, extras) {
        const s = sigmas[i]!;
        const next = sigmas[i + 1]!;
        if (!config.stochastic_sampling) return combine(x.length, [1, x], [next - s, output]);
        const kept = 1 - next;
        const clean: [number, Numbers][] = [
          [kept, x],
          [-kept * s, output],
        ];
        return next === 0
          ? combine(x.length, ...clean)
          : combine(x.length, ...clean, [next, required(extras?.noise)]);
      },
    }),
  };
}
