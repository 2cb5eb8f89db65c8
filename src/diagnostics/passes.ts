import { error } from "./define.ts";

/** Codes of passes. */
export const passesCodes = {
  SHAPE_DIM_UNKNOWN: error<{ dim: string; known: readonly string[] }>(
    (d) =>
      `--shape names "${d.dim}", which the model does not have. Expected one of: ${d.known.join(", ") || "(none, all shapes are fixed)"}.`,
  ),
  SHAPE_DIM_INVALID: error<{ dim: string; value: number }>(
    (d) => `--shape sets ${d.dim} to ${d.value}. Expected a whole number of at least 1.`,
  ),
  LAYER_UNKNOWN: error<{ pass: string; name: string; nearest: string | null; count: number }>(
    (d) =>
      `${d.pass} is given a format for "${d.name}", which is none of the ${d.count} layers with a weight.${d.nearest === null ? "" : ` Did you mean "${d.nearest}"?`} Expected node names as \`diffpress inspect\` lists them.`,
  ),
  SPARSE_CONFLICT: error<{ option: string; value: string; why: string }>(
    (d) =>
      `quantize-weights is given sparse together with ${d.option}: ${d.value}. Expected method gptq or rounding and no branch, because ${d.why}.`,
  ),
  TIMESTEPS_TOO_CLOSE: error<{ timesteps: string; dtype: string }>(
    (d) =>
      `freeze-time is given timesteps that cannot be told apart as ${d.dtype}: ${d.timesteps}. Expected integers for integer inputs, and at least 0.002 between others.`,
  ),
  ALLOCATION_IMPOSSIBLE: error<{ limit: number; least: number; unit: string }>(
    (d) =>
      `the budget leaves ${d.limit} ${d.unit} for the weights, and their smallest forms together take ${d.least}. Raise the budget, allow smaller formats, or lift the guards.`,
  ),
  ALLOCATION_SHAPES_OPEN: error<{ node: string }>(
    (d) =>
      `how often "${d.node}" multiplies is unknown, because its shapes are open. Expected fixed shapes for a budget in multiplications: give them with --shape, or use bytes or averageBits.`,
  ),
  ALLOCATION_LATENCY_UNKNOWN: error<{ target: string | null }>(
    (d) =>
      `a budget of latency needs estimates of how long layers take, and there are none ${d.target === null ? "without a target" : `for ${d.target}`}. Expected a target whose descriptor has a machine; use bytes, averageBits or flopBits elsewhere.`,
  ),
  CONDITIONS_NOT_COMPUTED: error<{ inputs: readonly string[]; count: number; problem: string }>(
    (d) =>
      `freeze-conditions is given ${d.count} conditions for ${d.inputs.join(", ")} that the model cannot be run on: ${d.problem}. Expected values it was made for: classes it knows, or conditions: calibration.`,
  ),
};
