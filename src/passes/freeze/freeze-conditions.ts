import { fail } from "../../diagnostics/index.ts";
import { anatomy } from "../../ir/anatomy/index.ts";
import type { InputRole } from "../../ir/anatomy/types.ts";
import { dimSymbols, equalDim, substitute } from "../../ir/dim.ts";
import { elementCount, isFloat } from "../../ir/dtype.ts";
import type { Dense } from "../../ir/evaluator.ts";
import type { ValueId } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { definePass, type PassContext } from "../pass.ts";
import { recordedLengths } from "../recorded-lengths.ts";
import { conditionIndex } from "./condition-index.ts";
import { type ConditionRows, classRows, conditionTables, distinct } from "./conditions.ts";
import { createLookup } from "./lookup.ts";
import { type FrozenPath, frozenPath, tableBytes } from "./path.ts";
import { previewTables } from "./preview.ts";
import { openLength, type PathInput } from "./tables.ts";

/** Options of `freeze-conditions`. */
export interface FreezeConditionsOptions {
  /** Conditions the build will answer at; `calibration`: those of the calibration trajectory; `null`: do nothing. */
  conditions: readonly number[] | "calibration" | null;
  tolerance: number;
  always: boolean;
}

/** Inputs that conditions are fed by. */
const ROLES: ReadonlySet<InputRole> = new Set([
  "encoder-states",
  "class-labels",
  "text-embeds",
  "time-ids",
  "token-ids",
]);

/** Inputs of conditions with one row per sample, as the sample has them. */
function conditionInputs(
  o: FreezeConditionsOptions,
  ctx: Pick<PassContext, "model" | "shapes">,
): PathInput[] {
  const shapes = ctx.shapes();
  const all = anatomy(ctx.model, shapes).inputs;
  const sample = all.find((i) => i.role === "sample");
  const batch = sample === undefined ? undefined : shapes.shape(sample.value)?.[0];
  return all.flatMap(({ value, role }) => {
    const [dims, dtype] = [shapes.shape(value), shapes.dtype(value)];
    if (!ROLES.has(role) || dims === null || dtype === null || batch === undefined) return [];
    if (dims.length === 0 || !equalDim(dims[0]!, batch)) return [];
    if (Array.isArray(o.conditions) && (isFloat(dtype) || dims.length !== 1)) return [];
    return [{ value, dtype, dims }];
  });
}

/** The conditions of the recorded calls, the unconditional one among them. */
function recordedRows(inputs: readonly PathInput[], ctx: PassContext): ConditionRows | null {
  const feeds = ctx.oracle?.calls[0]?.feeds;
  const found = new Map<ValueId, Dense>();
  for (const { value } of inputs) {
    const d = feeds?.get(ctx.model.graph.value(value).name);
    if (d === undefined) return null;
    found.set(value, d);
  }
  const [first] = found.values();
  return first === undefined ? null : { count: first.dims[0]!, inputs: found };
}

/** The part of the graph behind the inputs, cut where rows are still those of conditions. */
function pathOf(
  inputs: readonly PathInput[],
  lengths: Readonly<Record<string, number>>,
  ctx: Pick<PassContext, "model" | "shapes">,
): FrozenPath {
  const shapes = ctx.shapes();
  const [batch] = inputs[0]!.dims;
  const known = (value: ValueId): readonly number[] | null => {
    const [dims, dtype] = [shapes.shape(value), shapes.dtype(value)];
    if (dims === null || dims.length === 0 || dtype === null || !isFloat(dtype)) return null;
    if (!equalDim(dims[0]!, batch!)) return null;
    const rest = dims.slice(1).map((d) => {
      if (typeof batch === "string" && dimSymbols(d).includes(batch)) return null;
      return substitute(d, lengths);
    });
    return rest.every((d): d is number => typeof d === "number") ? rest : null;
  };
  return frozenPath(ctx.model.graph, shapes, { inputs: new Set(inputs.map((i) => i.value)), rest: known });
}

export const freezeConditions = definePass<FreezeConditionsOptions>({
  name: "freeze-conditions",
  family: "freeze",
  summary: "Replaces everything that depends on the prompt or class alone by tables over chosen conditions",
  doc: `Keys and values of a cross attention are projections of the text, the same at every step; embeddings of a class
are rows of a table. Where a build only ever serves a few conditions, all they compute is a few rows, which are computed
here with the model's own arithmetic and stored: the projections and their weights are gone, from the files and from
every step. What also depends on the sample or the timestep stays as it is.

Opt-in, because the build then answers at these conditions only. Inputs stay as they were, and what is fed is compared with
the stored conditions element by element, in any order, one per sample; \`tolerance\` is the largest difference as a share
of an input's largest element, so that a text encoder of lower precision may still be recognised. A condition that is not
in the set gives NaN in every row that used it, and one of another length fails to run: no sampler is locked without
noticing. The manifest names the inputs (\`frozenConditions\`), the report says how many conditions there are. With
\`conditions: calibration\` they are those that the calibration trajectories use, the unconditional one included; take at
least as many samples as the pipeline has conditions. A list of numbers names classes.

Nothing is frozen where tables and conditions would take more bytes than the weights they replace (\`always\` lifts that), or
where rows depend on other rows of the batch. The pass counts as lossy because the model it makes does not answer
everywhere; where it answers it is exact up to float rounding.`,
  effect: "lossy",
  minSqnrDb: 90,
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      conditions: {
        anyOf: [
          { type: "array", items: { type: "integer" }, minItems: 1, maxItems: 4096 },
          { const: "calibration" },
          { type: "null" },
        ],
        default: null,
        description:
          "Conditions the build will answer at: those of the calibration trajectory, or a list of classes; null leaves the model alone.",
      },
      tolerance: {
        type: "number",
        minimum: 0.000001,
        maximum: 0.1,
        default: 0.01,
        description: "Largest difference to a stored condition, as a share of the input's largest element.",
      },
      always: {
        type: "boolean",
        default: false,
        description: "Freeze even where tables and conditions take more bytes than the weights they replace.",
      },
    },
  },
  wantsOracle: (o) => o.conditions === "calibration",
  preview(_graph, o, ctx) {
    const line = (what: string) => [{ subject: "", what }];
    if (o.conditions === null) return line("no conditions are given: freezing them is opt-in");
    const inputs = conditionInputs(o, ctx);
    if (inputs.length === 0) return line("no graph input was recognised as a condition, one per sample");
    const path = pathOf(inputs, {}, ctx);
    if (path.frontier.length === 0)
      return line("no weights depend on conditions alone, as far as shapes tell without a sample");
    const of = inputs.map((i) => `"${ctx.model.graph.value(i.value).name}"`).join(", ");
    const rows = o.conditions === "calibration" ? null : new Set(o.conditions).size;
    return previewTables(path, { of, rows, what: "condition" }, ctx);
  },
  version: 1,
  async run(graph, o, ctx) {
    const skip = (why: string): void =>
      ctx.decide({ node: "", kind: "skipped", rule: "freeze-conditions", why });
    if (o.conditions === null) return skip("no conditions are given: freezing them is opt-in");
    if (o.conditions === "calibration" && ctx.oracle === null)
      return skip("the model could not be sampled, so its calibration conditions are unknown");
    const candidates = conditionInputs(o, ctx);
    if (candidates.length === 0)
      return skip("no graph input was recognised as a condition of that kind, one row per sample");
    const lengths = recordedLengths(ctx);
    const path = pathOf(candidates, lengths, ctx);
    if (path.frontier.length === 0) return skip("no weights depend on conditions alone");
    const read = new Set(path.nodes.flatMap((n) => n.inputs));
    const inputs = candidates.filter((i) => read.has(i.value));
    const names = inputs.map((i) => graph.value(i.value).name);
    if (o.conditions !== "calibration" && inputs.length > 1)
      return skip(`classes are listed, and several inputs take one: ${names.join(", ")}`);
    const given =
      o.conditions === "calibration" ? recordedRows(inputs, ctx) : classRows(inputs[0]!, o.conditions);
    if (given === null) return skip(`the calibration trajectory does not feed ${names.join(", ")}`);
    const all = distinct(given, o.tolerance);
    if (all === null) return skip("two conditions are closer than the tolerance can tell apart");
    const stored = [...all.inputs.values()].reduce((n, d) => n + 4 * elementCount(d.dims), 0);
    const bytes = tableBytes(path.frontier, all.count) + stored;
    if (bytes >= path.bytes && !o.always)
      return skip(`tables for ${all.count} conditions take ${bytes} bytes, the weights ${path.bytes}`);
    const open = openLength(path, ctx);
    if (open !== null) return skip(`the lengths of "${open}" are not known`);
    const tables = await conditionTables(path, inputs, all, { lengths, ctx }).catch((cause: unknown) =>
      fail("CONDITIONS_NOT_COMPUTED", {
        inputs: names,
        count: all.count,
        problem: cause instanceof Error ? cause.message : String(cause),
      }),
    );
    if ("mixed" in tables)
      return skip(`rows of "${tables.mixed}" depend on other conditions of the batch than their own`);
    const patch = new PatchBuilder(graph, "freeze-conditions");
    const index = conditionIndex(patch, all, o.tolerance);
    const fed = inputs[0]!.dims[0]!;
    const lookup = createLookup({
      graph,
      shapes: ctx.shapes(),
      patch,
      count: all.count,
      index,
      fed,
      prefix: "conditions",
    });
    for (const f of path.frontier)
      patch.redirect(f.value, lookup.value(f, tables.get(f.value)!, graph.value(f.value).name)!);
    patch.remove(...path.dead.map((n) => n.id)).drop(...path.constants);
    patch.apply();
    ctx.decide({
      node: names.join(", "),
      kind: "applied",
      rule: "condition-tables",
      why: `the build answers at ${all.count} conditions only and gives NaN at others`,
      from: `${path.dead.length} nodes`,
      to: `${path.frontier.length} tables of ${all.count} rows`,
      count: path.frontier.length,
      bytesBefore: path.bytes,
      bytesAfter: bytes,
    });
    ctx.publish({ frozenConditions: { inputs: names, count: all.count } });
  },
});
