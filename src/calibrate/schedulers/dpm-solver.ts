import { solverGrid } from "./multistep.ts";
import { cleanSample, combine, difference, limitSample, type Numbers, required } from "./prediction.ts";
import type { ScheduleOptions, Scheduler, SchedulerConfig } from "./types.ts";

/** Up to how many steps `lower_order_final` takes effect: with more, the last steps are short enough. */
const FEW_STEPS = 15;

/**
 * DPM-Solver++ multistep (Lu et al. 2022b, algorithm 2) of order 1 to 3, `midpoint` and `heun` corrections, and its SDE
 * variant. The last steps fall back to lower orders as the configuration says.
 */
export function dpmSolver(config: SchedulerConfig, options: ScheduleOptions): Scheduler {
  const g = solverGrid(config, options);
  const calls = g.timesteps.length;
  const stochastic = config.algorithm_type === "sde-dpmsolver++";
  const limits = { ...config, clip_sample: false };
  const heunType = config.solver_type === "heun";

  const orderAt = (i: number): number => {
    const few = config.lower_order_final && calls < FEW_STEPS;
    if (i === calls - 1 && (few || config.euler_at_final || g.sigma[calls] === 0)) return 1;
    const wanted = Math.min(config.solver_order, i + 1);
    return i === calls - 2 && few ? Math.min(wanted, 2) : wanted;
  };

  return {
    sampler: "dpm-solver++",
    prediction: config.prediction_type,
    steps: options.steps,
    timesteps: g.timesteps,
    sigmas: g.sigmas,
    initNoiseSigma: 1,
    learnsVariance: false,
    usesNoise: (i) => stochastic && g.sigma[i + 1]! > 0,
    scaleInput: (x) => Float32Array.from(x),
    start(batch = 1) {
      const history: Float64Array[] = [];
      return {
        step(output, i, x, extras) {
          const m0 = limitSample(
            cleanSample(config.prediction_type, output, x, g.alpha[i]!, g.sigma[i]!),
            limits,
            batch,
          );
          history.unshift(m0);
          history.length = Math.min(history.length, 3);
          const h = g.lambda[i + 1]! - g.lambda[i]!;
          // Two equal points: nothing to integrate, and the ratios below would be 0/0.
          if (h === 0) return Float64Array.from(x);
          // The SDE solver integrates over 2h: its exponent, written e, replaces exp(-h) - 1.
          const span = stochastic ? -2 * h : -h;
          const e = Math.expm1(span);
          const alpha = g.alpha[i + 1]!;
          const ratio = g.sigma[i + 1]! / g.sigma[i]!;
          const terms: [number, Numbers][] = [
            [stochastic ? ratio * Math.exp(-h) : ratio, x],
            [-alpha * e, m0],
          ];
          const order = orderAt(i);
          const m1 = history[1];
          const m2 = history[2];
          if (order >= 2 && m1 !== undefined) {
            const r0 = (g.lambda[i]! - g.lambda[i - 1]!) / h;
            const d0 = difference(m0, m1, 1 / r0);
            const linear = alpha * (e / -span + 1);
            if (order === 2 || m2 === undefined) {
              terms.push([heunType ? linear : -0.5 * alpha * e, d0]);
            } else {
              const r1 = (g.lambda[i - 1]! - g.lambda[i - 2]!) / h;
              const change = difference(d0, difference(m1, m2, 1 / r1), 1 / (r0 + r1));
              terms.push([linear, d0], [linear * r0, change]);
              terms.push([-alpha * ((e - span) / (span * span) - 0.5), change]);
            }
          }
          if (stochastic && g.sigma[i + 1]! > 0) {
            terms.push([g.sigma[i + 1]! * Math.sqrt(-Math.expm1(-2 * h)), required(extras?.noise)]);
          }
          return combine(x.length, ...terms);
        },
      };
    },
  };
}
