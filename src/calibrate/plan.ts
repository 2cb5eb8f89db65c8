import type { Runtime } from "../runtime/index.ts";
import { declaredSizes } from "./component.ts";
import { type ConditionSet, type ResolveOptions, resolveConditions } from "./conditions.ts";
import type { Denoiser } from "./denoiser.ts";
import type { Guidance } from "./guidance.ts";
import { type Pipeline, pipelineDenoiser, pipelineScheduler } from "./pipeline.ts";
import { sampleShape } from "./roles.ts";
import type { TrajectoryOptions } from "./sampler.ts";
import type { Prediction } from "./schedulers/index.ts";

/** Settings that replace what the pipeline describes. */
export interface PlanOptions {
  /** Sampler id or scheduler class. */
  readonly sampler?: string;
  readonly steps?: number;
  readonly guidance?: number;
  /** Run the unconditional half also at guidance 1. */
  readonly bothHalves?: boolean;
  readonly prediction?: Prediction;
  /** Trajectories per run; default 4. */
  readonly batch?: number;
  /** Symbolic dim or `input.axis` to length. */
  readonly bindings?: Readonly<Record<string, number>>;
  /** Conditions already encoded; else the pipeline's own. */
  readonly conditions?: ConditionSet;
  /** How conditions are found when none are given. */
  readonly resolve?: ResolveOptions;
  readonly signal?: AbortSignal;
}

/**
 * Everything {@link sampleTrajectory} needs except the seeds, from a pipeline and overrides: schedule, guidance, encoded
 * conditions, sample size. A guidance other than 1 falls back to 1 when the pipeline has no unconditional condition and
 * nobody asked for it by number.
 */
export async function planTrajectory(
  pipeline: Pipeline,
  runtime: Runtime,
  denoiser: Denoiser,
  options: PlanOptions = {},
): Promise<Omit<TrajectoryOptions, "seeds">> {
  const { roles } = denoiser;
  const bindings = options.bindings ?? {};
  const shape = sampleShape(roles.sample, declaredSizes(pipelineDenoiser(pipeline)), bindings);
  const conditions =
    options.conditions ??
    (await resolveConditions(pipeline, runtime, roles, { bindings, ...options.resolve }));
  const described = conditions.unconditional === null ? 1 : pipeline.sampling.guidance;
  const guidance: Guidance = {
    scale: options.guidance ?? described,
    ...(options.bothHalves !== undefined && { bothHalves: options.bothHalves }),
  };
  const scheduler = pipelineScheduler(pipeline, {
    ...(options.sampler !== undefined && { sampler: options.sampler }),
    ...(options.steps !== undefined && { steps: options.steps }),
    ...(options.prediction !== undefined && { prediction: options.prediction }),
    // Tokens of a latent cut into 2×2 patches, what dynamic shifts count.
    sequenceLength: Math.ceil((shape[shape.length - 2]! * shape[shape.length - 1]!) / 4),
  });
  return {
    denoiser,
    scheduler,
    guidance,
    conditions,
    shape,
    ...(options.batch !== undefined && { batch: options.batch }),
    ...(options.signal !== undefined && { signal: options.signal }),
  };
}
