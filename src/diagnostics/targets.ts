import { error, warning } from "./define.ts";

/** Codes of targets and of the passes that legalise and convert for them. */
export const targetsCodes = {
  TARGET_UNKNOWN: error<{ target: string; nearest: string | null; known: readonly string[] }>(
    (d) =>
      `unknown target "${d.target}"${d.nearest === null ? "" : `; did you mean "${d.nearest}"?`} Expected one of ${d.known.join(", ")}.`,
  ),
  TARGET_SHAPE_DYNAMIC: error<{ target: string; value: string; shape: string; symbols: readonly string[] }>(
    (d) =>
      `value "${d.value}" has shape ${d.shape}, but ${d.target} takes static shapes only. Give every symbolic dimension a length with --shape${d.symbols.length === 0 ? "" : ` (${d.symbols.map((s) => `${s}=N`).join(",")})`}.`,
  ),
  TARGET_OPSET_UNSUPPORTED: error<{ target: string; found: number; max: number }>(
    (d) =>
      `the model imports opset ${d.found}, but ${d.target} loads opsets up to ${d.max} and there is no down-conversion. Re-export the model with opset ${d.max} or lower.`,
  ),
  OPTION_PATTERN_INVALID: error<{ pass: string; option: string; pattern: string; problem: string }>(
    (d) =>
      `option "${d.option}" of ${d.pass} is "${d.pattern}", which is not a regular expression (${d.problem}). Expected a JavaScript pattern matched against node names.`,
  ),
  TARGET_REJECTS: warning<{
    target: string;
    component: string;
    rule: string;
    why: string;
    nodes: readonly string[];
  }>(
    (d) =>
      `${d.target} would refuse ${d.component} (${d.rule}): ${d.why}${d.nodes.length === 0 ? "" : `, at ${d.nodes.length} nodes`}. Expected a build its runtime loads; report it with the recipe.`,
  ),
};
