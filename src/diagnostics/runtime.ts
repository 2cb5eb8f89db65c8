import { error } from "./define.ts";

/** Codes of this area; see `define.ts` for the order of a message. */
export const runtimeCodes = {
  RUNTIME_REJECTED: error<{ where: string; reason: string }>(
    (d) =>
      `onnxruntime refused ${d.where}: ${d.reason}. Expected a model and inputs that the pinned onnxruntime can run; check the operator, its element types and the opset.`,
  ),
  RUNTIME_PROVIDER_MISSING: error<{ provider: string; reason: string }>(
    (d) =>
      `the execution provider "${d.provider}" cannot be used here: ${d.reason}. Expected a working device and driver; use the cpu provider or install the driver.`,
  ),
  GRAPH_SET_INVALID: error<{ file: string; problem: string }>(
    (d) =>
      `${d.file}: ${d.problem}. Expected the description of a build's graphs as it was written; restore the build.`,
  ),
  TIMESTEPS_APART: error<{ file: string; timesteps: readonly number[] }>(
    (d) =>
      `one run has the timesteps ${d.timesteps.join(", ")}, which ${d.file} gives to different graphs. Expected timesteps of one graph in a run; run them one after the other.`,
  ),
  FEED_INVALID: error<{ name: string; found: string; expected: string }>(
    (d) => `input "${d.name}" is ${d.found}, expected ${d.expected}. Pass a tensor of that type.`,
  ),
  TENSOR_TOO_LARGE: error<{ tensor: string; bytes: number; limit: number }>(
    (d) =>
      `making ${d.tensor} needs ${d.bytes} bytes at once, but the memory budget is ${d.limit}. Raise --max-memory above ${d.bytes}.`,
  ),
  TENSOR_UNREADABLE: error<{ file: string; offset: number; length: number; reason: string }>(
    (d) =>
      `${d.file}: cannot read ${d.length} bytes at offset ${d.offset}: ${d.reason}. Expected the data file as it was when the model was opened; restore it and run again.`,
  ),
  WEIGHT_NOT_FINITE: error<{ kernel: string; tensor: string; index: number; value: string }>(
    (d) =>
      `${d.kernel}: element ${d.index} of ${d.tensor} is ${d.value}, expected finite weights. Exclude the tensor from quantization or repair the model.`,
  ),
  CACHE_UNUSABLE: error<{ folder: string; reason: string }>(
    (d) =>
      `the artifact cache ${d.folder} cannot be used: ${d.reason}. Expected a writable folder; choose another one or switch the cache off.`,
  ),
  TEMP_UNUSABLE: error<{ folder: string; reason: string }>(
    (d) =>
      `cannot write temporary files in ${d.folder}: ${d.reason}. Expected room for the graph and for derived weights; free space or set TMPDIR.`,
  ),
  PROFILE_INVALID: error<{ file: string; reason: string }>(
    (d) => `${d.file}: ${d.reason}. Expected the JSON event list that onnxruntime's profiler writes.`,
  ),
};
