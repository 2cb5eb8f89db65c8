import { definePass } from "../pass.ts";
import { needsData, prune, requestFor } from "./engine.ts";
import { type PruneOptions, pruneSchema, type Scope } from "./options.ts";
import { previewPruning } from "./preview.ts";

const SCOPE: Scope = { pass: "prune-heads", kinds: ["heads"] };

export const pruneHeads = definePass<PruneOptions>({
  name: "prune-heads",
  family: "prune",
  summary: "Removes attention heads and refits the output projections",
  doc: `A head goes from queries, keys, values and the output projection at once; where two streams attend together, from
both. Reshapes and head counts follow, and the scale of the scores stays what it was, since the size of a head does not
change. The default order is that of optimal brain surgeon over blocks of channels: again and again the head goes whose
removal costs least after the others have made up for it. \`prune-structures\` has the same options, spread over heads,
neurons and channels with one budget, and explains them.`,
  effect: "lossy",
  minSqnrDb: 0,
  options: pruneSchema(0.02),
  version: 2,
  wantsStatistics: (graph, o, ctx) => requestFor(graph, o, SCOPE, ctx),
  wantsOracle: (o) => needsData(o),
  preview: (_graph, o, ctx) => previewPruning(o, SCOPE, ctx),
  run: (graph, o, ctx) => prune(graph, o, SCOPE, ctx),
});
