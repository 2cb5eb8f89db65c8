import { fail } from "../../diagnostics/index.ts";
import type { Json } from "../../ir/tensor.ts";
import { nearestName } from "../nearest.ts";
import { checkConfig, completeConfig } from "./config.ts";
import { ddim } from "./ddim.ts";
import { ddpm } from "./ddpm.ts";
import { dpmSolver } from "./dpm-solver.ts";
import { euler, eulerAncestral } from "./euler.ts";
import { flowEuler } from "./flow-euler.ts";
import { heun } from "./heun.ts";
import { lcm } from "./lcm.ts";
import { pndm } from "./pndm.ts";
import type { Prediction, SamplerId, ScheduleOptions, Scheduler, SchedulerConfig } from "./types.ts";
import { unipc } from "./unipc.ts";

interface SamplerEntry {
  readonly make: (config: SchedulerConfig, options: ScheduleOptions) => Scheduler;
  /** Class names in `scheduler_config.json` that mean this sampler. */
  readonly classes: readonly string[];
}

const SAMPLERS: Readonly<Record<SamplerId, SamplerEntry>> = {
  ddim: { make: ddim, classes: ["DDIMScheduler"] },
  ddpm: { make: ddpm, classes: ["DDPMScheduler"] },
  pndm: { make: pndm, classes: ["PNDMScheduler"] },
  euler: { make: euler, classes: ["EulerDiscreteScheduler"] },
  "euler-ancestral": { make: eulerAncestral, classes: ["EulerAncestralDiscreteScheduler"] },
  heun: { make: heun, classes: ["HeunDiscreteScheduler"] },
  "dpm-solver++": { make: dpmSolver, classes: ["DPMSolverMultistepScheduler"] },
  unipc: { make: unipc, classes: ["UniPCMultistepScheduler"] },
  lcm: { make: lcm, classes: ["LCMScheduler"] },
  "flow-euler": { make: flowEuler, classes: ["FlowMatchEulerDiscreteScheduler"] },
};

/** Every sampler id, in documentation order. */
const samplerIds = Object.keys(SAMPLERS) as readonly SamplerId[];

/** Settings that replace what the configuration file says. */
export interface ScheduleOverrides {
  /** Another sampler on the same training schedule; ids or class names. */
  readonly sampler?: string;
  /** Default 20. */
  readonly steps?: number;
  readonly prediction?: Prediction;
  /** Stochasticity of DDIM; default 0. */
  readonly eta?: number;
  /** Image tokens, for flow schedules with dynamic shift. */
  readonly sequenceLength?: number;
  /** Further entries of the configuration, spelled as in the file. */
  readonly config?: Readonly<Record<string, Json>>;
}

/** Most steps a trajectory may have; bounds tables and run time against hostile configurations. */
const MAX_STEPS = 10_000;

/** The sampler a name or class name stands for. Fails with SCHEDULER_UNKNOWN. */
export function samplerNamed(name: string, where: string): SamplerId {
  for (const id of samplerIds) if (id === name || SAMPLERS[id].classes.includes(name)) return id;
  const known = /sched/i.test(name) ? samplerIds.flatMap((id) => SAMPLERS[id].classes) : samplerIds;
  return fail("SCHEDULER_UNKNOWN", { where, found: name, nearest: nearestName(name, known), known });
}

/**
 * Lays out a schedule from the object of a `scheduler_config.json`. With another sampler, entries both classes know are
 * kept and the rest take its defaults. Fails with CONFIG_INVALID, SCHEDULER_UNKNOWN, SCHEDULER_OPTION_UNSUPPORTED
 * or SCHEDULE_IMPOSSIBLE, naming `where`.
 */
export function createScheduler(
  config: unknown,
  overrides: ScheduleOverrides = {},
  where = "scheduler_config.json",
): Scheduler {
  const checked = { ...checkConfig(config, where) };
  const className = checked["_class_name"];
  const name = overrides.sampler ?? className;
  if (typeof name !== "string") {
    return fail("CONFIG_INVALID", {
      file: where,
      problems: ["_class_name is missing, expected a scheduler class"],
    });
  }
  const sampler = samplerNamed(name, where);
  if (overrides.prediction !== undefined) checked["prediction_type"] = overrides.prediction;
  Object.assign(checked, overrides.config);
  const complete = completeConfig(checkConfig(checked, where), sampler, where);
  const steps = overrides.steps ?? 20;
  if (!Number.isInteger(steps) || steps < 1 || steps > MAX_STEPS) {
    fail("SCHEDULE_IMPOSSIBLE", {
      sampler,
      steps,
      problem: `the number of steps must be a whole number from 1 to ${MAX_STEPS}`,
      remedy: "give another number of steps",
    });
  }
  const options = { steps, eta: overrides.eta ?? 0, sequenceLength: overrides.sequenceLength ?? null };
  return SAMPLERS[sampler].make(complete, options);
}

export type { Numbers, Prediction, SamplerId, Scheduler, SchedulerRun, StepExtras } from "./types.ts";
