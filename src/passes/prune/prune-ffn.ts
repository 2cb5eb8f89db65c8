import { definePass } from "../pass.ts";
import { needsData, prune, requestFor } from "./engine.ts";
import { type PruneOptions, pruneSchema, type Scope } from "./options.ts";
import { previewPruning } from "./preview.ts";

const SCOPE: Scope = { pass: "prune-ffn", kinds: ["ffn"] };

export const pruneFfn = definePass<PruneOptions>({
  name: "prune-ffn",
  family: "prune",
  summary: "Removes neurons of feed-forwards and refits the layers that read them",
  doc: `A neuron is a row of the layer in front of a nonlinearity and a column of the layer behind it; gated feed-forwards
lose both rows of a pair and their Split gets new lengths. Perceptrons on one vector per
sample, such as time embeddings, stay: they cost next to nothing, and what they see are the few timesteps that were
sampled. \`prune-structures\` explains the options.`,
  effect: "lossy",
  minSqnrDb: 0,
  options: pruneSchema(0.05),
  version: 2,
  wantsStatistics: (graph, o, ctx) => requestFor(graph, o, SCOPE, ctx),
  wantsOracle: (o) => needsData(o),
  preview: (_graph, o, ctx) => previewPruning(o, SCOPE, ctx),
  run: (graph, o, ctx) => prune(graph, o, SCOPE, ctx),
});
