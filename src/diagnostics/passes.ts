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
};
