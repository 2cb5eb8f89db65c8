/** Judging a build: along sampled trajectories for denoisers, on the same inputs for other models. */
export { compareOnInputs } from "./inputs.ts";
export { seededInputs, type SeededInputs } from "./feeds.ts";
export type { Interval, SeedSummary } from "./metrics/interval.ts";
export { SQNR_CAP_DB } from "./metrics/sqnr.ts";
export type { Effort } from "./settings.ts";
export {
  type Agreement,
  type ConditioningResult,
  type ConditioningStep,
  type DriftStep,
  type InputsResult,
  LOSSLESS_DB,
  type NoiseFloor,
  type OutputComparison,
  type SettingName,
  type SettingResult,
  type StepFidelity,
  type TrajectoryResult,
  type VerifyResult,
} from "./types.ts";
export type { VerifyOptions, VerifySource } from "./options.ts";
export { verify, verifyModels } from "./verify.ts";
