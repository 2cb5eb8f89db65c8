/** Judging a build: along sampled trajectories for denoisers, on the same inputs for other models. */

export { type SeededInputs, seededInputs } from "./feeds.ts";
export { compareOnInputs } from "./inputs.ts";
export type { Interval, SeedSummary } from "./metrics/interval.ts";

export type { VerifyOptions, VerifySource } from "./options.ts";
export type { Effort } from "./settings.ts";
export type {
  Agreement,
  ConditioningResult,
  ConditioningStep,
  DriftStep,
  InputsResult,
  NoiseFloor,
  OutputComparison,
  SettingName,
  SettingResult,
  StepFidelity,
  TrajectoryResult,
  VerifyResult,
} from "./types.ts";
export { verify } from "./verify.ts";
