/** The runtime: tensors to bytes in worker threads, models to results on onnxruntime. */
export { describeEnvironment } from "./environment.ts";
export { type GraphSet, isGraphSet, modelFile, openGraphSet } from "./graph-set.ts";
export { countOps, optimizedOps } from "./optimized.ts";
export { parseProfile, profileModel } from "./profile.ts";
export { createRuntime, type Runtime } from "./runtime.ts";
export type { Arithmetic, PortType, Session, SessionOptions } from "./session.ts";
