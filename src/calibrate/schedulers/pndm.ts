import { alphaBars } from "./betas.ts";
import { combine, type Numbers } from "./prediction.ts";
import { spacedTimesteps } from "./spacing.ts";
import type { ScheduleOptions, Scheduler, SchedulerConfig } from "./types.ts";

/** Adams-Bashforth weights of the newest outputs, newest first, by how many there are. */
const WEIGHTS: readonly (readonly number[])[] = [
  [1],
  [3 / 2, -1 / 2],
  [23 / 12, -16 / 12, 5 / 12],
  [55 / 24, -59 / 24, 37 / 24, -9 / 24],
];

/**
 * Pseudo linear multistep sampling (Liu et al. 2022, equations 9 and 11) without Runge-Kutta warm-up: the first step is
 * taken twice, the second time with the average of both slopes, so `steps + 1` calls.
 */
export function pndm(config: SchedulerConfig, options: ScheduleOptions): Scheduler {
  const train = config.num_train_timesteps;
  const bars = alphaBars(config);
  const plain = spacedTimesteps({
    spacing: config.timestep_spacing,
    train,
    steps: options.steps,
    offset: config.steps_offset,
  });
  const repeats = plain.length > 1;
  const timesteps = repeats
    ? Float64Array.from([plain[0]!, plain[1]!, ...plain.subarray(1)])
    : Float64Array.from(plain);
  const stride = Math.floor(train / options.steps);
  const final = config.set_alpha_to_one ? 1 : bars[0]!;
  const bar = (t: number): number => (t >= 0 ? bars[t]! : final);
  const sigma = (a: number): number => Math.sqrt((1 - a) / a);

  const transfer = (output: Numbers, x: Numbers, t: number, to: number): Float64Array => {
    const a = bar(t);
    const p = bar(to);
    const [alpha, beta] = [Math.sqrt(a), Math.sqrt(1 - a)];
    const scale = Math.sqrt(p / a);
    // Equation 11, written so that equal ends give 0 and not 0/0.
    const move = (a - p) / (a * Math.sqrt(1 - p) + Math.sqrt(a * (1 - a) * p));
    switch (config.prediction_type) {
      case "v_prediction":
        return combine(x.length, [scale + move * beta, x], [move * alpha, output]);
      case "sample":
        return combine(x.length, [scale + move / beta, x], [(-move * alpha) / beta, output]);
      default:
        return combine(x.length, [scale, x], [move, output]);
    }
  };

  return {
    sampler: "pndm",
    prediction: config.prediction_type,
    steps: options.steps,
    timesteps,
    sigmas: Float64Array.from({ length: timesteps.length + 1 }, (_, i) =>
      sigma(bar(i < timesteps.length ? timesteps[i]! : timesteps[i - 1]! - stride)),
    ),
    initNoiseSigma: 1,
    learnsVariance: false,
    usesNoise: () => false,
    scaleInput: (x) => Float32Array.from(x),
    start() {
      let history: Numbers[] = [];
      let origin: Numbers | null = null;
      return {
        step(output, i, x) {
          const t = timesteps[i]!;
          if (i === 0) {
            history = [output.slice()];
            origin = x.slice();
            return transfer(output, x, t, t - stride);
          }
          if (i === 1 && origin !== null) {
            const average = combine(x.length, [0.5, output], [0.5, history[0]!]);
            return transfer(average, origin, t + stride, t);
          }
          history = [output.slice(), ...history].slice(0, WEIGHTS.length);
          const weights = WEIGHTS[history.length - 1]!;
          const slope = combine(x.length, ...weights.map((w, k) => [w, history[k]!] as const));
          return transfer(slope, x, t, t - stride);
        },
      };
    },
  };
}
