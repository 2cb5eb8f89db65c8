import { error, warning } from "./define.ts";

/** `"x"`, `"y" or "z"`: names quoted and joined for a message. */
function names(list: readonly string[]): string {
  return list.map((n) => `"${n}"`).join(", ");
}

/** Codes of this area; see `define.ts` for the order of a message. */
export const compileCodes = {
  RECIPE_UNREADABLE: error<{ file: string; problem: string }>(
    (d) =>
      `${d.file}: ${d.problem}. Expected a YAML or JSON recipe; \`diffpress init\` writes one to start from.`,
  ),
  RECIPE_UNKNOWN_KEY: error<{
    file: string;
    keys: readonly { readonly at: string; readonly key: string; readonly nearest: string | null }[];
  }>((d) => {
    const one = d.keys[0]!;
    const hint = one.nearest === null ? "" : ` (did you mean "${one.nearest}"?)`;
    const more = d.keys.length > 1 ? `; ${d.keys.length - 1} more are unknown` : "";
    return `${d.file}: unknown key "${one.key}" at ${one.at}${hint}${more}. \`diffpress schema recipe\` lists the keys.`;
  }),
  RECIPE_INVALID: error<{
    file: string;
    problems: readonly { readonly at: string; readonly problem: string }[];
  }>(
    (d) =>
      `${d.file}: ${d.problems.map((p) => `${p.at} ${p.problem}`).join("; ")}. \`diffpress schema recipe\` prints the schema.`,
  ),
  RECIPE_CYCLE: error<{ chain: readonly string[] }>(
    (d) => `recipes extend each other in a circle: ${d.chain.join(" -> ")}. Remove one of the \`extends\`.`,
  ),
  PRESET_UNKNOWN: error<{ preset: string; known: readonly string[]; nearest: string | null }>(
    (d) =>
      `found preset "${d.preset}", expected one of ${names(d.known)}${d.nearest === null ? "" : `; did you mean "${d.nearest}"?`}`,
  ),
  COMPONENT_UNKNOWN: error<{ component: string; known: readonly string[]; nearest: string | null }>(
    (d) =>
      `the recipe names component "${d.component}", expected a component or a kind of them, one of ${names(d.known)}${d.nearest === null ? "" : `; did you mean "${d.nearest}"?`}`,
  ),
  SHAPE_NEEDED: error<{ component: string; target: string; dims: readonly string[] }>(
    (d) =>
      `component "${d.component}" has dims whose length is unknown (${d.dims.join(", ")}), and target "${d.target}" takes static shapes only. Give them: --shape ${d.dims.map((x) => `${x}=…`).join(",")}`,
  ),
  OUTPUT_NOT_OURS: error<{ path: string }>(
    (d) =>
      `${d.path} exists and holds no diffpress build (no manifest.json), so it is not replaced. Choose another -o or remove it.`,
  ),
  OUTPUT_OVER_INPUT: error<{ path: string; source: string }>(
    (d) => `the output folder ${d.path} would hold or replace the input ${d.source}. Choose another -o.`,
  ),
  INPUT_NOT_FOUND: error<{ path: string; problem: string }>(
    (d) => `${d.path}: ${d.problem}. Expected a pipeline folder (with model_index.json) or a .onnx file.`,
  ),
  PASS_BROKE_GRAPH: error<{ pass: string; after: readonly string[]; problem: string }>(
    (d) =>
      `pass "${d.pass}" left a graph that does not verify: ${d.problem} (passes before it: ${d.after.join(", ") || "none"}). This is a bug; rerun with DIFFPRESS_DEBUG=3 and report it.`,
  ),
  BUDGET_UNMEASURED: error<{ budget: string; why: string }>(
    (d) => `budget "${d.budget}" cannot be checked: ${d.why}.`,
  ),
  INTERRUPTED: error<{ during: string }>((d) => `interrupted during ${d.during}; nothing was written`),
  EXACT_DIFFERS: error<{ component: string; target: string; output: string; error: number; limit: number }>(
    (d) =>
      `exact passes changed output "${d.output}" of component "${d.component}" for target "${d.target}" by ${d.error.toExponential(2)} relative to its size, expected at most ${d.limit.toExponential(0)}. This is a bug in a pass; bisect with --stop-after N.`,
  ),
  FILE_EXISTS: error<{ path: string }>((d) => `${d.path} exists; choose another -o or pass --force.`),
  PASS_UNKNOWN: error<{ pass: string; known: readonly string[]; nearest: string | null }>(
    (d) =>
      `found pass "${d.pass}", expected one of ${names(d.known)}${d.nearest === null ? "" : `; did you mean "${d.nearest}"?`}`,
  ),
  PASS_ORDER: error<{ pass: string; after: string; why: string }>(
    (d) => `the recipe runs ${d.pass} after ${d.after}, expected it before: ${d.why}. Change their order.`,
  ),
  BUILD_FILE_INVALID: error<{ file: string; problem: string }>(
    (d) => `${d.file}: ${d.problem}. Expected the target folder of a build (OUT/<target>).`,
  ),
  NO_LOSSY_COMPONENT: warning<{ known: readonly string[] }>(
    (d) =>
      `the recipe has lossy passes for none of the components ${names(d.known)}, so only exact ones run. Name them under "components" to change that.`,
  ),
};
