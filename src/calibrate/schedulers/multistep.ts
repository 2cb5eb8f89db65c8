import { positiveAlphaBars, trainingSigmas } from "./betas.ts";
import { append, exponentialSigmas, interpolate, respaced, timestepOf } from "./sigmas.ts";
import { linspace, roundHalfEven, spacedTimesteps } from "./spacing.ts";
import type { ScheduleOptions, SchedulerConfig } from "./types.ts";

/** Grid of a multistep solver: entry `i` belongs to call `i`, the last entry to the finished sample. */
export interface SolverGrid {
  readonly timesteps: Float64Array;
  readonly sigmas: Float64Array;
  /** `x = alpha * x0 + sigma * noise` at each point. */
  readonly alpha: Float64Array;
  readonly sigma: Float64Array;
  /** Half the log signal-to-noise ratio, log(alpha / sigma); infinite at a noise-free end. */
  readonly lambda: Float64Array;
}

function grid(timesteps: Float64Array, sigmas: Float64Array, flow: boolean): SolverGrid {
  const alpha = sigmas.map((s) => (flow ? 1 - s : 1 / Math.sqrt(s * s + 1)));
  const sigma = flow ? sigmas : sigmas.map((s, i) => s * alpha[i]!);
  return { timesteps, sigmas, alpha, sigma, lambda: alpha.map((a, i) => Math.log(a) - Math.log(sigma[i]!)) };
}

/**
 * The grid of DPM-Solver++ and UniPC. A configuration with `final_sigmas_type` ends where that says and runs on the
 * exact respaced sigmas. One without the key is of the older spelling: sigmas are those of whole training timesteps,
 * repeated timesteps drop out, and the last step ends at timestep 0 (the same as `sigma_min`).
 */
export function solverGrid(config: SchedulerConfig, options: ScheduleOptions): SolverGrid {
  const train = config.num_train_timesteps;
  if (config.use_flow_sigmas || config.prediction_type === "flow_prediction") {
    const s = config.flow_shift;
    const raw = linspace(1, 1 / train, options.steps + 1).map((a) => 1 - a);
    const shifted = raw
      .map((x) => (s * x) / (1 + (s - 1) * x))
      .reverse()
      .subarray(0, options.steps);
    const end = config.final_sigmas_type === "sigma_min" ? shifted[shifted.length - 1]! : 0;
    return grid(
      shifted.map((x) => x * train),
      append(shifted, end),
      true,
    );
  }
  const training = trainingSigmas(positiveAlphaBars(config));
  const limit = training.reduce((n, s) => (-Math.log(s) < config.lambda_min_clipped ? n - 1 : n), train);
  const max = training[train - 1]!;
  const spaced = config.use_lu_lambdas
    ? exponentialSigmas(max, training[0]!, options.steps)
    : respaced(config, max, training[0]!, options.steps);
  const timesteps =
    spaced === null
      ? spacedTimesteps({
          spacing: config.timestep_spacing,
          train,
          steps: options.steps,
          offset: config.steps_offset,
          extra: 1,
          limit,
        })
      : spaced.map((s) => roundHalfEven(timestepOf(s, training)));
  if (config.final_sigmas_type !== null) {
    const end = config.final_sigmas_type === "sigma_min" ? training[0]! : 0;
    return grid(timesteps, append(spaced ?? timesteps.map((t) => interpolate(training, t)), end), false);
  }
  const distinct = timesteps.filter((t, i) => i === 0 || t !== timesteps[i - 1]);
  return grid(
    distinct,
    append(
      distinct.map((t) => training[t]!),
      training[0]!,
    ),
    false,
  );
}
