import { type PruneAnalysis, type PruneGroup, pruneAnalysis } from "../../ir/anatomy/groups/index.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import { modelBytes } from "../../ir/weights.ts";
import type { PreviewContext, PreviewLine } from "../pass.ts";
import { assumedText, counted, mega } from "../preview-text.ts";
import { costCount, costText, lengthsOf } from "./cost.ts";
import { chosen } from "./engine.ts";
import { countsOf } from "./levels.ts";
import type { PruneOptions, Scope } from "./options.ts";

/** Reasons given by refusals that a preview spells out; the report of a build lists all. */
const REASONS = 5;

function groupLine(g: PruneGroup, o: PruneOptions): PreviewLine {
  const most = countsOf(g, o).at(-1) ?? 0;
  const layers = g.producers.filter((p) => p.weight).length;
  return {
    subject: g.name,
    what: `${g.kind}: ${g.units.length} units of ${g.width}, made by ${layers}, read by ${g.consumers.length} layers; at most ${most} may go`,
  };
}

function refusalLines({ refused }: PruneAnalysis): PreviewLine[] {
  const byReason = new Map<string, number>();
  for (const r of refused) byReason.set(r.why, (byReason.get(r.why) ?? 0) + 1);
  const sorted = [...byReason].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  return sorted.slice(0, REASONS).map(([why, n]) => ({
    subject: "",
    what: `${n} ${n === 1 ? "layer stays" : "layers stay"} whole: ${why}`,
  }));
}

/** Analyses of graphs that did not change: inferred shapes are those of one state of a graph. */
const analyses = new WeakMap<InferredShapes, PruneAnalysis>();

function analysisOf({ model, shapes }: PreviewContext): PruneAnalysis {
  const key = shapes();
  const known = analyses.get(key) ?? pruneAnalysis(model, key);
  analyses.set(key, known);
  return known;
}

/** Groups a pruning pass would choose from, and the FLOPs and bytes it starts with. */
export function previewPruning(o: PruneOptions, scope: Scope, ctx: PreviewContext): PreviewLine[] {
  const analysis = analysisOf(ctx);
  const groups = chosen(analysis, o, scope);
  const { lengths, assumed } = lengthsOf({ model: ctx.model, oracle: null }, o.dims);
  const cost = costCount(ctx, analysis, { per: o.per, lengths });
  const flops = costCount(ctx, analysis, { per: "flops", lengths });
  const most = groups.flatMap((g) => g.units.slice(0, countsOf(g, o).at(-1) ?? 0));
  const floor = cost.after(new Set(most));
  return [
    {
      subject: "",
      what:
        `${counted(groups.length, "group")}; ${mega(flops.total)} and ${modelBytes(ctx.model)} bytes before, ${costText(o.per, cost.total * (1 - o.ratio))} asked for, ${costText(o.per, floor)} with all that may go` +
        assumedText(assumed, lengths),
    },
    ...groups.map((g) => groupLine(g, o)),
    ...refusalLines(analysis),
  ];
}
