/** Pipelines, schedules, conditions and sampled trajectories; statistics of activations along them. */
export type { Component, ComponentKind } from "./component.ts";
export {
  type ConditionSet,
  conditionsFromNpz,
  type EncodedCondition,
  type ResolveOptions,
  resolveConditions,
  syntheticConditions,
} from "./conditions.ts";
export { type Denoiser, sessionDenoiser } from "./denoiser.ts";
export { denseFrom, floats, numbersOf, rows, stack } from "./dense.ts";
export { conditioningEffect, type Guidance, guide, splitVariance } from "./guidance.ts";
export { editDistance, nearestName } from "./nearest.ts";
export { type Npz, parseNpz, readNpz } from "./npz.ts";
export {
  describeModel,
  type ModelDescription,
  type OpenOptions,
  openPipeline,
  type Pipeline,
  pipelineDenoiser,
  pipelineScheduler,
} from "./pipeline.ts";
export { type PlanOptions, planTrajectory } from "./plan.ts";
export {
  collectRanges,
  type ObserveOptions,
  observeRanges,
  type RangeOptions,
  type Ranges,
  type ValueRange,
} from "./ranges.ts";
export { type ConditionRole, type DeclaredSizes, type InputRoles, inputRoles, sampleShape } from "./roles.ts";
export {
  type StepRecord,
  sampleTrajectory,
  type Trajectory,
  type TrajectoryOptions,
} from "./sampler.ts";
export type { SamplingDescription } from "./sampling.ts";
export type {
  Prediction,
  SamplerId,
  ScheduleOverrides,
  Scheduler,
  SchedulerRun,
} from "./schedulers/index.ts";
export {
  calibrationSeeds,
  type Seed,
  seedRng,
  startingNoise,
  stepNoise,
  verificationSeeds,
} from "./seeds.ts";
export * from "./statistics/index.ts";
export { openTokenizer, type TextTokenizer } from "./tokenizer.ts";
export type { ErrorTransport, TransportOptions } from "./transport.ts";
