import { error, warning } from "./define.ts";

const list = (items: readonly string[]): string => (items.length === 0 ? "nothing" : items.join(", "));
const guess = (nearest: string | null): string => (nearest === null ? "" : ` Did you mean "${nearest}"?`);

/** Codes of this area; see `define.ts` for the order of a message. */
export const calibrateCodes = {
  PIPELINE_FILE_MISSING: error<{ file: string; neededBy: string }>(
    (d) =>
      `${d.file} is missing; ${d.neededBy} needs it. Copy the whole pipeline folder, or export it again.`,
  ),
  PIPELINE_EMPTY: error<{ dir: string }>(
    (d) =>
      `${d.dir} holds no component with a model.onnx. Expected the diffusers layout: model_index.json and <component>/model.onnx; export the pipeline to ONNX first.`,
  ),
  PIPELINE_NO_DENOISER: error<{ dir: string; found: readonly string[] }>(
    (d) =>
      `${d.dir} has no denoiser among ${list(d.found)}. Expected a folder unet or transformer with model.onnx; rename the folder or give the model file itself.`,
  ),
  JSON_INVALID: error<{ file: string; line: number; column: number; problem: string }>(
    (d) => `${d.file}:${d.line}:${d.column}: ${d.problem}. Expected valid JSON; fix the file at that place.`,
  ),
  CONFIG_TOO_LARGE: error<{ file: string; bytes: number; limit: number }>(
    (d) => `${d.file} has ${d.bytes} bytes, expected at most ${d.limit}. It is not a configuration file.`,
  ),
  CONFIG_INVALID: error<{ file: string; problems: readonly string[] }>(
    (d) => `${d.file}: ${d.problems.join("; ")}. Correct these entries.`,
  ),
  SCHEDULER_UNKNOWN: error<{
    where: string;
    found: string;
    nearest: string | null;
    known: readonly string[];
  }>(
    (d) =>
      `${d.where} asks for scheduler "${d.found}", expected one of ${list(d.known)}.${guess(d.nearest)} Choose another sampler.`,
  ),
  SCHEDULER_OPTION_UNSUPPORTED: error<{ where: string; option: string; found: string; expected: string }>(
    (d) =>
      `${d.where}: ${d.option} is ${d.found}, expected ${d.expected}. Change it, or choose another sampler.`,
  ),
  SCHEDULE_IMPOSSIBLE: error<{ sampler: string; steps: number; problem: string; remedy: string }>(
    (d) => `${d.steps} steps of ${d.sampler} are not possible: ${d.problem}. To go on, ${d.remedy}.`,
  ),
  NPZ_INVALID: error<{ file: string; entry: string; problem: string }>(
    (d) =>
      `${d.file}${d.entry === "" ? "" : ` entry ${d.entry}`}: ${d.problem}. Expected an archive of arrays as numpy.savez writes it.`,
  ),
  NPZ_TOO_LARGE: error<{ file: string; entry: string; bytes: number; limit: number }>(
    (d) =>
      `${d.file}${d.entry === "" ? "" : ` entry ${d.entry}`} holds ${d.bytes} bytes, expected at most ${d.limit}. Store fewer samples.`,
  ),
  TOKENIZER_MISSING: error<{ component: string; prompt: string; looked: readonly string[] }>(
    (d) =>
      `the prompt "${d.prompt}" for ${d.component} needs a tokenizer, and none is at ${list(d.looked)}. Add the tokenizer folder, or give input_ids or an npz with embeddings.`,
  ),
  TOKENIZER_INVALID: error<{ file: string; problem: string }>(
    (d) => `${d.file}: ${d.problem}. Expected a tokenizer as the pipeline's authors publish it.`,
  ),
  CONDITION_COMPONENT_MISSING: error<{ condition: string; component: string; known: readonly string[] }>(
    (d) =>
      `condition "${d.condition}" goes through component "${d.component}", and the pipeline has only ${list(d.known)}. Correct diffpress.json.`,
  ),
  CONDITION_NOT_CONNECTED: error<{
    condition: string;
    component: string;
    outputs: readonly string[];
    inputs: readonly string[];
  }>(
    (d) =>
      `condition "${d.condition}": no output of ${d.component} (${list(d.outputs)}) fits a denoiser input (${list(d.inputs)}). Name the array after the input in an npz instead.`,
  ),
  CONDITION_VALUE_INVALID: error<{ condition: string; input: string; found: string; expected: string }>(
    (d) =>
      `condition "${d.condition}": input ${d.input} is ${d.found}, expected ${d.expected}. Correct the condition.`,
  ),
  CONDITION_INPUT_MISSING: error<{ condition: string; input: string; given: readonly string[] }>(
    (d) =>
      `condition "${d.condition}" gives ${list(d.given)}; the denoiser also needs "${d.input}". Add it to diffpress.json or to the npz of conditions.`,
  ),
  CONDITIONS_DIFFER: error<{ input: string; first: string; other: string }>(
    (d) =>
      `conditions differ in the shape of ${d.input}: ${d.first} and ${d.other}. Pad them to one length; both guidance halves run in one batch.`,
  ),
  GUIDANCE_NEEDS_UNCONDITIONAL: error<{ guidance: number }>(
    (d) =>
      `guidance ${d.guidance} needs an unconditional condition, and none is given. Add "unconditional" to diffpress.json, or use guidance 1.`,
  ),
  DENOISER_ROLE_UNKNOWN: error<{ role: string; inputs: readonly string[] }>(
    (d) =>
      `no input of the denoiser looks like its ${d.role}: it has ${list(d.inputs)}. Expected exporter names such as sample, hidden_states, timestep; name the roles in diffpress.json under "roles".`,
  ),
  SAMPLE_SHAPE_UNKNOWN: error<{ input: string; shape: string; missing: readonly string[] }>(
    (d) =>
      `the size of ${d.input} ${d.shape} is open: ${list(d.missing)}. Give it with --shape, or sample_size and in_channels in the component's config.json.`,
  ),
  DENOISER_OUTPUT_UNFIT: error<{ output: string; found: string; expected: string }>(
    (d) =>
      `the denoiser's output ${d.output} is ${d.found}, expected ${d.expected}. The model does not fit the sampler: check prediction type and sizes.`,
  ),
  TRAJECTORY_NOT_FINITE: error<{ call: number; timestep: number; seed: number; what: string }>(
    (d) =>
      `${d.what} is not finite at call ${d.call} (t = ${d.timestep}) of seed ${d.seed}. Check the scheduler configuration and prediction type, or the precision of the model.`,
  ),
  STATISTICS_INVALID: error<{ file: string; problem: string }>(
    (d) => `${d.file}: ${d.problem}. Expected a file as diffpress calibrate writes it; write it again.`,
  ),
  STATISTICS_STALE: error<{ file: string; differences: readonly string[] }>(
    (d) =>
      `${d.file} was collected on something else: ${d.differences.join("; ")}. Run diffpress calibrate again with the build's settings, or leave calibration.artifact out.`,
  ),
  CALIBRATION_IMPOSSIBLE: error<{ path: string; problem: string }>(
    (d) =>
      `${d.path} cannot be calibrated: ${d.problem}. Give a pipeline folder with a denoiser and a scheduler.`,
  ),
  RANGE_NOT_FINITE: warning<{ count: number; values: readonly string[] }>(
    (d) =>
      `${d.count} activations overflow or are not numbers on the calibration trajectory: ${list(d.values)}${d.count > d.values.length ? ", …" : ""}. They stay in full precision.`,
  ),
};
