/** The runtime: tensors to bytes in worker threads, models to results on onnxruntime. */
export { describeEnvironment, type Environment } from "./environment.ts";
export { countOps, optimizedOps } from "./optimized.ts";
export { runtimeVersion } from "./ort.ts";
export { type KernelTime, type Profile, parseProfile, profileModel } from "./profile.ts";
export { createRuntime, type Runtime, type RuntimeOptions, type RuntimeStats } from "./runtime.ts";
export type { PortType, Session, SessionOptions } from "./session.ts";
