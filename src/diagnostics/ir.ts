import { error } from "./define.ts";

export const irCodes = {
  PATCH_INVALID: error<{ patch: string; problem: string }>(
    (d) => `patch "${d.patch}" cannot be applied: ${d.problem}. This is a bug in the pass that made it.`,
  ),
  GRAPH_INVALID: error<{ where: string; problem: string }>(
    (d) =>
      `${d.where}: ${d.problem}. Expected a well-formed ONNX graph; re-export the model or run onnx.checker on it.`,
  ),
  GRAPH_CYCLE: error<{ file: string; node: string }>(
    (d) =>
      `${d.file}: node "${d.node}" depends on its own output. Expected an acyclic graph in topological order; re-export the model.`,
  ),
};
