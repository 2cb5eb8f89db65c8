import type { Statistics, StatisticsRequest } from "../../calibrate/statistics/types.ts";
import { type PruneAnalysis, type PruneGroup, pruneAnalysis } from "../../ir/anatomy/groups/index.ts";
import { cloneModel } from "../../ir/clone.ts";
import type { Graph } from "../../ir/graph.ts";
import { modelBytes } from "../../ir/weights.ts";
import { removeDead } from "../clean/remove-dead.ts";
import { heldOutField } from "../held-out.ts";
import { optionPattern } from "../option-pattern.ts";
import type { PassContext } from "../pass.ts";
import { spreadOverCalls, unitsAt } from "./allocate.ts";
import { removeUnits, shapeErrors } from "./apply.ts";
import { costCount, costText, lengthsOf } from "./cost.ts";
import { type Cut, countsOf, levelsOf } from "./levels.ts";
import { measured } from "./measure.ts";
import type { PruneOptions, Scope } from "./options.ts";
import type { Original } from "./prefix.ts";
import { rank } from "./rank.ts";
import { gramsOf, readersOf } from "./readers.ts";
import { type ReaderError, refit } from "./refit.ts";
import { removalOf } from "./removal.ts";

/** True when options look at the inputs of layers. */
export function needsData(o: Pick<PruneOptions, "score" | "repair" | "allocate">): boolean {
  return o.score !== "magnitude" || o.repair || o.allocate !== "uniform";
}

/** Groups in scope. */
export function chosen(analysis: PruneAnalysis, o: PruneOptions, scope: Scope): PruneGroup[] {
  const match = optionPattern(scope.pass, "match", o.match);
  const exclude = optionPattern(scope.pass, "exclude", o.exclude);
  return analysis.groups.filter(
    (g) =>
      scope.kinds.includes(g.kind) &&
      match?.test(g.name) !== false &&
      exclude?.test(g.name) !== true &&
      countsOf(g, o).length > 0,
  );
}

/** Gram matrices a pass wants before it runs. */
export function requestFor(
  graph: Graph,
  o: PruneOptions,
  scope: Scope,
  ctx: Pick<PassContext, "model" | "shapes">,
): StatisticsRequest | null {
  if (!needsData(o)) return null;
  return gramsOf(graph, ctx.shapes(), chosen(pruneAnalysis(ctx.model, ctx.shapes()), o, scope));
}

/** Says which groups of the scope cannot be pruned and why, and which layers have none. */
function explain(analysis: PruneAnalysis, o: PruneOptions, scope: Scope, ctx: PassContext): void {
  for (const { name, why } of analysis.refused)
    ctx.decide({ node: name, kind: "skipped", rule: "whole-layer", why });
  for (const g of analysis.groups) {
    if (g.kind === "embedding" && scope.kinds.includes("ffn"))
      ctx.decide({
        node: g.name,
        kind: "skipped",
        rule: "prune-embedding",
        why: "it sees one vector per sample: pruning it saves next to nothing, and a refit would hold for the sampled timesteps only",
      });
    if (scope.kinds.includes(g.kind) && countsOf(g, o).length === 0)
      ctx.decide({
        node: g.name,
        kind: "skipped",
        rule: `prune-${g.kind}`,
        why: `no width below ${g.units.length * g.width} is a multiple of ${o.align} with ${g.width} channels a unit`,
      });
  }
}

/** Orders units and prices depths of every group. */
async function cutsOf(
  groups: readonly PruneGroup[],
  o: PruneOptions,
  statistics: Statistics | null,
  ctx: PassContext,
): Promise<Cut[]> {
  const graph = ctx.model.graph;
  const shapes = ctx.shapes();
  const cuts: Cut[] = [];
  for (const group of groups) {
    const readers =
      statistics === null ? null : await readersOf(graph, shapes, group, { statistics, reader: ctx.reader });
    if (readers === null && needsData(o))
      ctx.decide({
        node: group.name,
        kind: "downgraded",
        rule: `prune-${group.kind}`,
        why:
          statistics === null
            ? "the model could not be sampled, so nothing is known of its layers' inputs"
            : "inputs of a layer that reads the group are too many or were not observed",
        from: o.score,
        to: "magnitude without repair",
      });
    const order = await rank(graph, group, readers, o, ctx.reader);
    cuts.push({ group, readers, order, levels: levelsOf(group, readers, order, o) });
  }
  if (o.allocate !== "measured" || ctx.oracle === null || cuts.some((c) => c.readers === null)) return cuts;
  return await measured(ctx.model, cuts, o, { oracle: ctx.oracle, reader: ctx.reader });
}

/** One line per group that lost units. */
function report(
  { group }: Cut,
  count: number,
  errors: readonly ReaderError[] | undefined,
  ctx: PassContext,
): void {
  const n = group.units.length;
  const noise = errors?.reduce((sum, e) => sum + e.predicted.noise, 0);
  const signal = errors?.reduce((sum, e) => sum + e.predicted.signal, 0);
  const value = noise === undefined ? null : 10 * Math.log10(signal! / Math.max(noise, Number.MIN_VALUE));
  ctx.decide({
    node: group.name,
    kind: "applied",
    rule: `prune-${group.kind}`,
    ...(group.mixed !== null && { why: `approximate: ${group.mixed}` }),
    from: `${n} × ${group.width}`,
    to: `${n - count} × ${group.width}`,
    ...(value !== null && {
      error: {
        metric: "sqnr-db",
        value: Number(value.toFixed(2)),
        ...heldOutField(errors!.map((e) => e.heldOut)),
      },
    }),
  });
}

/** What one round works from. */
interface Start {
  /** FLOPs that may stay. */
  readonly limit: number;
  readonly statistics: Statistics | null;
  readonly original: Original;
  /** Whether rounds before have removed something. */
  readonly compressed: boolean;
}

/** What one round leaves. */
async function round(start: Start, o: PruneOptions, scope: Scope, ctx: PassContext): Promise<void> {
  const { limit, statistics, original, compressed } = start;
  const { model } = ctx;
  const analysis = pruneAnalysis(model, ctx.shapes());
  const cost = costCount(ctx, analysis, { per: o.per, lengths: lengthsOf(ctx, o.dims).lengths });
  const cuts = await cutsOf(chosen(analysis, o, scope), o, statistics, ctx);
  const { levels } = spreadOverCalls(cuts, cost, limit);
  const counts = cuts.map((c, i) => (levels[i]! < 0 ? 0 : c.levels[levels[i]!]!.count));
  const units = new Set(cuts.flatMap((c, i) => unitsAt(c, levels[i]!)));
  if (units.size === 0) return;
  const trial = cloneModel(model);
  removeUnits(trial, analysis, units);
  const wrong = shapeErrors(trial, analysis, removalOf(analysis, units));
  if (wrong.length > 0) {
    ctx.decide({
      node: "",
      kind: "skipped",
      rule: scope.pass,
      why: `shapes would not follow at ${wrong.slice(0, 3).join(", ")}; the graph computes lengths in a way that is not understood`,
    });
    return;
  }
  const { overrides, errors } = await refit({ analysis, cuts, counts, original, compressed }, o, ctx);
  removeUnits(model, analysis, units, overrides);
  for (const [i, cut] of cuts.entries()) if (counts[i]! > 0) report(cut, counts[i]!, errors.get(cut), ctx);
  await removeDead.run(model.graph, {}, { ...ctx, decide: () => {} });
}

/** Runs the rounds of a pruning pass. */
export async function prune(graph: Graph, o: PruneOptions, scope: Scope, ctx: PassContext): Promise<void> {
  const analysis = pruneAnalysis(ctx.model, ctx.shapes());
  explain(analysis, o, scope, ctx);
  const { lengths, assumed } = lengthsOf(ctx, o.dims);
  const { total } = costCount(ctx, analysis, { per: o.per, lengths });
  const bytes = modelBytes(ctx.model);
  const original = { model: cloneModel(ctx.model), shapes: ctx.shapes() };
  for (let r = 1; r <= o.rounds; r++) {
    let { statistics } = ctx;
    if (r > 1) {
      const request = requestFor(graph, o, scope, ctx);
      statistics = request === null ? null : await ctx.collect(request);
    }
    const limit = total * (1 - (o.ratio * r) / o.rounds);
    await round({ limit, statistics, original, compressed: r > 1 }, o, scope, ctx);
  }
  const left = pruneAnalysis(ctx.model, ctx.shapes());
  const after = costCount(ctx, left, { per: o.per, lengths }).total;
  const want = total * (1 - o.ratio);
  ctx.decide({
    node: "",
    kind: after <= want * 1.0001 || after === total ? "applied" : "downgraded",
    rule: scope.pass,
    why:
      `${costText(o.per, total)} became ${costText(o.per, after)}, ${((1 - after / total) * 100).toFixed(1)} % less` +
      (after > want * 1.0001
        ? `; ${(o.ratio * 100).toFixed(1)} % were asked for and nothing else may go`
        : "") +
      (assumed.length > 0 && o.per === "flops" ? ` (lengths assumed for ${assumed.join(", ")})` : ""),
    bytesBefore: bytes,
    bytesAfter: modelBytes(ctx.model),
  });
}
