/**
 * diffpress as a library: open a pipeline or a model, look at it, build it for targets, judge a build. Everything else
 * is private and may change between releases.
 */
export { openPipeline, type Pipeline } from "./calibrate/index.ts";
export type * from "./calibrate/statistics/summary.ts";
export {
  type CalibrateOptions,
  type CalibrateResult,
  calibrate,
  inspectStatistics,
} from "./compile/calibrate.ts";
export { type CheckTargetOptions, checkTarget, type FileCheck } from "./compile/check.ts";
export type { CompileEvent, OnCompileEvent } from "./compile/events.ts";
export { type InspectOptions, inspect } from "./compile/inspect.ts";
export type { Manifest } from "./compile/manifest.ts";
export { type BuildFile, buildSchema } from "./compile/package/build-file.ts";
export { type SelfTestOptions, type SelfTestResult, selfTest } from "./compile/package/self-test.ts";
export type { Plan } from "./compile/plan.ts";
export { findPreset, type Preset, presets } from "./compile/presets/index.ts";
export { type BuildPreview, previewBuild } from "./compile/preview.ts";
export { recipeSchema } from "./compile/recipe/schema.ts";
export type { Recipe } from "./compile/recipe/types.ts";
export { compile } from "./compile/run.ts";
export { type StarterOptions, starterRecipe, writeStarterRecipe } from "./compile/starter.ts";
export type { BuildChoices, CompileOptions, CompileResult } from "./compile/types.ts";
export { type VerifyOutcome as VerifyResult, verify } from "./compile/verify.ts";
export { type Diagnostic, DiffpressError } from "./diagnostics/index.ts";
export type * from "./inspect/types.ts";
export type { Model } from "./ir/graph.ts";
export { readModel } from "./ir/onnx/index.ts";
export { passes, resolvePass } from "./passes/index.ts";
export type { Pass } from "./passes/pass.ts";
export { codesPage, passPage, rulesPage, targetPage } from "./report/pages.ts";
export { reportSchema } from "./report/schema.ts";
export type * from "./report/types.ts";
export type * from "./targets/check/types.ts";
export { resolveTargets, targets } from "./targets/index.ts";
export type { Target } from "./targets/target.ts";
export type { VerifyOptions, VerifySource } from "./verify/index.ts";
export { VERSION } from "./version.ts";
