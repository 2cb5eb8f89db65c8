/** The runtime: tensors to bytes in worker threads, models to results on onnxruntime. */
export { createRuntime, type Runtime, type RuntimeOptions, type RuntimeStats } from "./runtime.ts";
export type { PortType, Session, SessionOptions } from "./session.ts";
export { runtimeVersion } from "./ort.ts";
