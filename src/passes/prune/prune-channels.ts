import { definePass } from "../pass.ts";
import { needsData, prune, requestFor } from "./engine.ts";
import { type PruneOptions, pruneSchema, type Scope } from "./options.ts";
import { previewPruning } from "./preview.ts";

/** Options of `prune-channels`. */
export interface PruneChannelsOptions extends PruneOptions {
  widths: "inner" | "stage";
}

const scopeOf = ({ widths }: PruneChannelsOptions): Scope => ({
  pass: "prune-channels",
  kinds: widths === "inner" ? ["inner"] : ["inner", "stage"],
});

export const pruneChannels = definePass<PruneChannelsOptions>({
  name: "prune-channels",
  family: "prune",
  summary: "Removes channels inside residual blocks, whole normalisation groups at a time",
  doc: `The width inside a residual block (first convolution, time projection, second norm, second convolution) is tied to
nothing outside of it. A group of a group normalisation goes as a whole, because then the statistics of the others stay
what they were, and with a scale-shift projection both of its rows go. \`widths: stage\` also prunes what residual
streams and skip connections carry: every layer of a stage then loses the same channels, and layer norms over a stream
see fewer elements, which no refit makes up for exactly. \`prune-structures\` explains the other options.`,
  effect: "lossy",
  minSqnrDb: 0,
  options: pruneSchema(0.05, {
    widths: {
      enum: ["inner", "stage"],
      default: "inner",
      description: "Widths inside residual blocks only, or those of residual streams too.",
    },
  }),
  version: 2,
  wantsStatistics: (graph, o, ctx) => requestFor(graph, o, scopeOf(o), ctx),
  wantsOracle: (o) => needsData(o),
  preview: (_graph, o, ctx) => previewPruning(o, scopeOf(o), ctx),
  run: (graph, o, ctx) => prune(graph, o, scopeOf(o), ctx),
});
