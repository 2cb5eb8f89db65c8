import { fail } from "../../diagnostics/index.ts";
import { anatomy } from "../../ir/anatomy/index.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { definePass, type PassContext } from "../pass.ts";
import { createLookup } from "./lookup.ts";
import { type Frozen, frozenPath, staticRest, tableBytes } from "./path.ts";
import { previewFreezing } from "./preview.ts";
import { openLength, tablesOf } from "./tables.ts";
import { timeIndex, tooClose } from "./time-index.ts";

/** Options of `freeze-time`. */
export interface FreezeTimeOptions {
  /** The timesteps the build will answer at; `calibration`: those of the calibration trajectory; `null`: none, do nothing. */
  timesteps: readonly number[] | "calibration" | null;
  always: boolean;
}

/** Most timesteps named in a decision. */
const NAMED = 24;

/** The timesteps to freeze, ascending, each once; `null` with a decision when there are none. */
function wantedSteps(o: FreezeTimeOptions, ctx: PassContext): number[] | null {
  const skip = (why: string): null => {
    ctx.decide({ node: "", kind: "skipped", rule: "timesteps", why });
    return null;
  };
  if (o.timesteps === null) return skip("no timesteps are given: freezing them is opt-in");
  if (o.timesteps !== "calibration") return [...new Set(o.timesteps)].sort((a, b) => a - b);
  if (ctx.oracle === null)
    return skip("the model could not be sampled, so its calibration timesteps are unknown");
  return [...new Set(ctx.oracle.calls.map((c) => c.timestep))].sort((a, b) => a - b);
}

function list(timesteps: readonly number[]): string {
  const shown = timesteps.slice(0, NAMED).join(", ");
  return timesteps.length <= NAMED ? shown : `${shown} and ${timesteps.length - NAMED} more`;
}

export const freezeTime = definePass<FreezeTimeOptions>({
  name: "freeze-time",
  family: "freeze",
  summary: "Replaces everything that depends on the timestep alone by tables over chosen timesteps",
  doc: `The embedding of the timestep and its projections into the blocks see one number. For a list of timesteps, all
they ever compute is a few rows, which are computed here with the model's own arithmetic and stored: the layers and
their weights are gone, and with them the part of a network that is most sensitive to quantization. What also depends on
a class or a text stays as it is.

Opt-in, because the build then answers at these timesteps only. A timestep is looked up by value, in any order, alone or
one per sample. One that is not in the list gives NaN in every row that used it, on every target, so a sampler with
another schedule fails at its first step instead of drawing something plausible. The report lists the timesteps, and
the manifest has all of them (\`frozenTimesteps\`). With
\`timesteps: calibration\` they are those of the pipeline's own scheduler at \`calibration.steps\`.

Nothing is frozen where the tables would take more bytes than the weights they replace (\`always\` lifts that: a frozen
path is also faster and exact), where rows turn out to depend on other rows of the batch, or where lengths stay open.
Tables are float32, or half where the model is. The pass counts as lossy because the model it makes does not answer
everywhere; where it answers it is exact up to float rounding.`,
  effect: "lossy",
  minSqnrDb: 90,
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      timesteps: {
        anyOf: [
          { type: "array", items: { type: "number" }, minItems: 1, maxItems: 10000 },
          { const: "calibration" },
          { type: "null" },
        ],
        default: null,
        description:
          "Timesteps the build will answer at, as they are fed to the model; calibration takes those of the calibration trajectory; null leaves the model alone.",
      },
      always: {
        type: "boolean",
        default: false,
        description: "Freeze even where the tables take more bytes than the weights they replace.",
      },
    },
  },
  wantsOracle: (o) => o.timesteps === "calibration",
  preview: (graph, o, ctx) =>
    o.timesteps === null
      ? [{ subject: "", what: "no timesteps are given: freezing them is opt-in" }]
      : previewFreezing(graph, o.timesteps === "calibration" ? null : new Set(o.timesteps).size, ctx),
  version: 1,
  async run(graph, o, ctx) {
    const timesteps = wantedSteps(o, ctx);
    if (timesteps === null) return;
    const skip = (why: string): void => ctx.decide({ node: "", kind: "skipped", rule: "freeze-time", why });
    const shapes = ctx.shapes();
    const input = anatomy(ctx.model, shapes).inputs.find((i) => i.role === "timestep");
    const dims = input === undefined ? null : shapes.shape(input.value);
    const dtype = input === undefined ? null : shapes.dtype(input.value);
    if (input === undefined || dims === null || dtype === null || dims.length > 1)
      return skip("no graph input was recognised as a timestep, one per run or one per sample");
    if (tooClose(timesteps, dtype)) fail("TIMESTEPS_TOO_CLOSE", { timesteps: list(timesteps), dtype });
    const inputs = new Set([input.value]);
    const path = frozenPath(graph, shapes, { inputs, rest: (value) => staticRest(shapes, value) });
    for (const node of path.open)
      ctx.decide({ node, kind: "skipped", rule: "freeze-time", why: "its shape is not known" });
    if (path.frontier.length === 0) return skip("no weights depend on the timestep alone");
    const bytes = tableBytes(path.frontier, timesteps.length);
    if (bytes >= path.bytes && !o.always)
      return skip(`tables for ${timesteps.length} timesteps take ${bytes} bytes, the weights ${path.bytes}`);
    const open = openLength(path, ctx);
    if (open !== null) return skip(`the lengths of "${open}" are not known`);
    const rows = await tablesOf(path, { timestep: input.value, dtype, dims }, timesteps, ctx);
    if ("mixed" in rows)
      return skip(`rows of "${rows.mixed}" depend on other timesteps of the batch than their own`);
    const patch = new PatchBuilder(graph, "freeze-time");
    const lookup = createLookup({
      graph,
      shapes,
      patch,
      count: timesteps.length,
      prefix: "time",
      ...timeIndex({ graph, shapes, patch, timestep: input.value, timesteps }),
    });
    const written = path.frontier.map((f: Frozen) => {
      const { name } = graph.value(f.value);
      const value = lookup.value(f, rows.get(f.value)!, name);
      if (value !== null) patch.redirect(f.value, value);
      return value === null ? name : null;
    });
    const stuck = written.find((name) => name !== null);
    if (stuck !== undefined) return skip(`no graph input tells how many rows "${stuck}" has`);
    patch.remove(...path.dead.map((n) => n.id)).drop(...path.constants);
    patch.apply();
    ctx.decide({
      node: input.name,
      kind: "applied",
      rule: "time-tables",
      why: `the build answers at these timesteps only and gives NaN at others: ${list(timesteps)}`,
      from: `${path.dead.length} nodes`,
      to: `${path.frontier.length} tables of ${timesteps.length} rows`,
      count: path.frontier.length,
      bytesBefore: path.bytes,
      bytesAfter: bytes,
    });
    ctx.publish({ frozenTimesteps: timesteps });
  },
});
