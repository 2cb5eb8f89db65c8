/** Pipelines, schedules, conditions and sampled trajectories; statistics of activations along them. */
export { type Component, type ComponentKind, componentKind, declaredSizes } from "./component.ts";
export {
  type ConditionSet,
  conditionsFromNpz,
  type EncodedCondition,
  type ResolveOptions,
  resolveConditions,
  syntheticConditions,
} from "./conditions.ts";
export { convert, denseFrom, floats, numbersOf, rows, stack } from "./dense.ts";
export { type Denoiser, feedPieces, sessionDenoiser } from "./denoiser.ts";
export { conditioningEffect, type Guidance, guidanceHalves, guide, splitVariance } from "./guidance.ts";
export { instrument, type Observed, observableValues } from "./instrument.ts";
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
export { type SamplingDescription, samplingSchema } from "./sampling.ts";
export {
  createScheduler,
  type Prediction,
  type SamplerId,
  type Scheduler,
  type ScheduleOverrides,
  type SchedulerRun,
  samplerIds,
  samplerNamed,
} from "./schedulers/index.ts";
export {
  calibrationSeeds,
  type Seed,
  seedRng,
  startingNoise,
  stepNoise,
  verificationSeeds,
} from "./seeds.ts";
export { openTokenizer, type TextTokenizer } from "./tokenizer.ts";
