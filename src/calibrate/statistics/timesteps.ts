import { createRng } from "../../numeric/rng.ts";
import { meanOne } from "../transport.ts";
import type { CalibrationCall } from "./types.ts";

/**
 * Which calls of the sampler statistics are taken at. `uniform`: all of them. `normal`: as many draws as there are calls
 * from a normal distribution skewed to clean images, mean and deviation 0.4 T (PTQ4DM, Shang et al. 2023). `measured`:
 * as many draws in proportion to step sensitivity. A list: the calls nearest to its timesteps.
 */
export type TimestepChoice = "uniform" | "normal" | "measured" | readonly number[];

/** What calls weigh besides how often they were drawn: nothing, or their measured sensitivity. */
export type WeightChoice = "uniform" | "measured";

/** How calls are chosen. */
export interface CallChoice {
  readonly timesteps?: TimestepChoice;
  readonly weights?: WeightChoice;
}

/** Whether a choice needs step sensitivities. */
export function needsGains({ timesteps, weights }: CallChoice): boolean {
  return timesteps === "measured" || weights === "measured";
}

/** Call with the timestep nearest to `t`; the earlier one of two equally near. */
function nearest(timesteps: readonly number[], t: number): number {
  let best = 0;
  for (const [i, v] of timesteps.entries()) if (Math.abs(v - t) < Math.abs(timesteps[best]! - t)) best = i;
  return best;
}

/** How often each call is drawn. */
function draws(choice: TimestepChoice, all: Schedule): number[] {
  const counts = new Array<number>(all.timesteps.length).fill(choice === "uniform" ? 1 : 0);
  const rng = createRng(all.seed, "timesteps", typeof choice === "string" ? choice : "list");
  if (choice === "normal") {
    for (const _ of all.timesteps) {
      const t = 0.4 * all.trained * (1 + rng.normal());
      counts[nearest(all.timesteps, Math.max(0, Math.min(all.trained - 1, t)))]!++;
    }
  } else if (choice === "measured") {
    const weights = meanOne(all.gains ?? counts);
    const total = weights.reduce((a, b) => a + b, 0);
    for (const _ of all.timesteps) {
      let left = rng.float() * total;
      let at = 0;
      while (at < weights.length - 1 && left >= weights[at]!) left -= weights[at++]!;
      counts[at]!++;
    }
  } else if (choice !== "uniform") {
    for (const t of choice) counts[nearest(all.timesteps, t)]!++;
  }
  return counts;
}

/** The calls of a sampler. */
export interface Schedule {
  readonly timesteps: readonly number[];
  /** Timesteps the model was trained with. */
  readonly trained: number;
  readonly seed: number;
  /** Step sensitivities, where they were measured. */
  readonly gains: ArrayLike<number> | null;
}

/** The chosen calls in the order of the sampler, with their index in it; weights have mean 1. */
export function chooseCalls(
  choice: CallChoice,
  schedule: Schedule,
): (CalibrationCall & { readonly index: number })[] {
  const counts = draws(choice.timesteps ?? "uniform", schedule);
  const gain = choice.weights === "measured" ? meanOne(schedule.gains ?? counts) : null;
  const kept = [...counts.keys()].filter((i) => counts[i]! > 0);
  const weights = meanOne(kept.map((i) => counts[i]! * (gain?.[i] ?? 1)));
  return kept.map((index, k) => ({ index, timestep: schedule.timesteps[index]!, weight: weights[k]! }));
}
