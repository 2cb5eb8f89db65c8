import type { Statistics, StatisticsRequest } from "../../../calibrate/statistics/types.ts";
import type { Graph, ValueId } from "../../../ir/graph.ts";
import { optionPattern } from "../../option-pattern.ts";
import { definePass, type PassContext } from "../../pass.ts";
import { apply, type Setup } from "./apply.ts";
import { type Buckets, cutTime } from "./buckets.ts";
import type { ClockTable } from "./clock.ts";
import { restStatistics } from "./first-token.ts";
import { otherFamily } from "./numbers.ts";
import { type QuantizeStaticOptions, staticDoc, staticOptions } from "./options.ts";
import { type PlanSettings, planSite, type SitePlan } from "./plan.ts";
import { type ResultSettings, withResults } from "./results.ts";
import { select } from "./select.ts";
import { type Found, findSites, type Site, type SiteOptions } from "./sites.ts";
import { integerOf, type Spelling, spellingOf, stepsOf } from "./spelling.ts";

/** A range that moves by less than this ratio over the trajectory gets one scale. */
const TIME_TOLERANCE = 1.1;

/** Mean ratio of ranges within buckets below which no further bucket is cut. */
const BUCKET_TOLERANCE = 1.02;

const regex = (option: "match" | "exclude", text: string | null): RegExp | null =>
  optionPattern("quantize-static", option, text);

function siteOptions(o: QuantizeStaticOptions, { float8 }: Spelling): SiteOptions {
  const { minElements, guards } = o;
  const firstToken = o.firstToken === "exact";
  return {
    match: regex("match", o.match),
    exclude: regex("exclude", o.exclude),
    minElements,
    guards,
    firstToken,
    ...(float8 && { kinds: float8 }),
  };
}

function request(
  sites: readonly Site[],
  graph: Graph,
  o: { readonly rows: number; readonly results: boolean },
): StatisticsRequest {
  const { rows, results } = o;
  const values = new Map<string, StatisticsRequest["values"][number]>();
  const want = (id: ValueId, axis: number): void => {
    const { name } = graph.value(id);
    values.set(name, { name, axis, rows });
  };
  for (const s of sites) {
    // Measured without the first token, on the inputs themselves.
    if (s.rest) continue;
    want(s.value, s.axis);
    if (s.kind === "conv" || results) for (const l of s.layers) want(l.output, s.axis);
  }
  return { values: [...values.values()], grams: [] };
}

/** Whether scales can follow the timestep as they were asked to; says why where they cannot. */
function follows(found: Found, statistics: Statistics, ctx: PassContext): boolean {
  const constant = (why: string): boolean => {
    ctx.decide({ node: "", kind: "downgraded", rule: "time-table", why, from: "gathered", to: "constant" });
    return false;
  };
  if (!found.anatomy.inputs.some((i) => i.role === "timestep"))
    return constant("the graph has no timestep input: one scale covers all steps");
  if (new Set(statistics.calls.map((c) => c.timestep)).size < 2)
    return constant("a single timestep was calibrated: nothing is known of the others");
  return true;
}

/** Timesteps cut where ranges move; `null` where they hardly do, and says so. */
function cut(
  found: Found,
  most: number,
  ctx: { readonly graph: Graph; readonly of: PassContext },
): Buckets | null {
  const names = found.sites.flatMap((s) => [s.name, ...s.layers.map((l) => ctx.graph.value(l.output).name)]);
  const buckets = cutTime(ctx.of.statistics!, names, { most, tolerance: BUCKET_TOLERANCE });
  if (buckets.bounds.length > 0) return buckets;
  ctx.of.decide({
    node: "",
    kind: "skipped",
    rule: "time-buckets",
    why: "ranges hardly move over the trajectory: one scale covers all steps",
  });
  return null;
}

/** Says of every quantized layer what options took off that would have protected it. */
function reportForced(
  plans: readonly SitePlan[],
  o: { readonly saturates: boolean; readonly to: string },
  ctx: PassContext,
): void {
  const { saturates, to } = o;
  for (const { layer, fit } of plans.flatMap((p) => p.layers)) {
    if (layer.lifted !== null)
      ctx.decide({
        node: layer.name,
        kind: "forced",
        rule: layer.lifted.rule,
        why: `quantized because options lift the guard: ${layer.lifted.why}`,
        to,
      });
    if (saturates && fit.saturates)
      ctx.decide({
        node: layer.name,
        kind: "forced",
        rule: "saturation",
        why: "options allow neighbouring weights whose 16-bit sums overflow on x86 processors without VNNI: wrong results there",
        to,
      });
  }
}

/** Says how scales follow the timestep. */
function reportTime(table: ClockTable, buckets: Buckets | null, ctx: PassContext): void {
  const scales = `scales of ${table.profiles} activations follow the timestep`;
  const graphs = ctx.model.buckets !== undefined;
  ctx.decide({
    node: "",
    kind: "applied",
    rule: graphs ? "time-graphs" : "time-table",
    why: graphs
      ? `${scales}, as constants of one graph per bucket`
      : `${scales}, in a table of ${table.bytes} bytes`,
    ...(buckets !== null && {
      to: `${buckets.bounds.length + 1} buckets, cut at t = ${buckets.bounds.join(", ")}`,
    }),
  });
}

/** What a layer becomes, in a word. */
function nameOf({ float8, bits }: Spelling, block: number | null = null): string {
  return float8 ? "float8" : `a${bits}w${block === null ? 8 : 4}`;
}

/** Why a layer keeps weights of 8 bits where 4 were asked for. */
function wideWeight({ kind, rest }: Site, block: number): string {
  if (kind === "conv") return "4-bit weights are for linear layers: it keeps 8 bits";
  if (rest) return "its first token reads the weight too: it keeps 8 bits";
  return `its inputs are no multiple of ${block}: it keeps weights of 8 bits`;
}

function ruleOf({ kind }: Site, { qdq }: Spelling): string {
  return qdq === null ? `integer-${kind}` : `qdq-${kind}`;
}

export const quantizeStatic = definePass<QuantizeStaticOptions>({
  name: "quantize-static",
  family: "quantize",
  summary: "Runs convolutions and linear layers in 8 bits with scales that follow the timestep",
  doc: staticDoc,
  effect: "lossy",
  minSqnrDb: 12,
  options: staticOptions,
  wantsStatistics(graph, o, ctx) {
    const integer = integerOf(ctx.target);
    if (integer === null) return null;
    const spelling = spellingOf(o, integer, { ...ctx, decide: () => undefined });
    const { qdq } = spelling;
    if (otherFamily(graph, qdq?.float8 === true) !== null) return null;
    const results = qdq?.placement === "around";
    const { sites } = findSites(ctx.model, ctx.shapes(), siteOptions(o, spelling));
    return request(sites, graph, { rows: o.rows, results });
  },
  wantsOracle(o, target) {
    const integer = integerOf(target);
    return (
      integer !== null &&
      (o.firstToken !== null || o.floor !== null || (o.faster && integer.spelling === "qlinear"))
    );
  },
  version: 4,
  async run(graph, o, ctx) {
    const { statistics, target } = ctx;
    const integer = integerOf(target);
    if (integer === null) {
      ctx.decide({
        node: "",
        kind: "downgraded",
        rule: "no-integer",
        why: target?.integerWhy ?? "the target has no integer arithmetic",
        from: "a8w8",
        to: "f32",
      });
      return;
    }
    const spelling = spellingOf(o, integer, ctx);
    const mixed = otherFamily(graph, spelling.float8 !== null);
    if (mixed !== null) {
      ctx.decide({ node: "", kind: "skipped", rule: "number-family", why: mixed, to: "f32" });
      return;
    }
    if (statistics === null) {
      ctx.decide({
        node: "",
        kind: "downgraded",
        rule: "no-calibration",
        why: "there are no activation statistics: the model cannot be sampled here",
        from: "a8w8",
        to: "f32",
      });
      return;
    }
    const { oracle, evaluator } = ctx;
    if (o.firstToken !== null && oracle === null)
      ctx.decide({
        node: "",
        kind: "downgraded",
        rule: "first-token",
        why: "the original cannot be sampled here: nothing is known of its texts, and their keys and values stay float",
      });
    const firstToken = oracle === null ? null : o.firstToken;
    const found = findSites(ctx.model, ctx.shapes(), siteOptions({ ...o, firstToken }, spelling));
    const texts = found.sites.filter((s) => s.rest);
    const rest =
      oracle === null ? null : await restStatistics(texts, { graph, oracle, evaluator, keep: o.rows });
    for (const l of found.left) ctx.decide({ node: l.node.name, kind: "skipped", rule: l.rule, why: l.why });
    const { bits, time, saturation, weightScales, powerOfTwo, qdq } = spelling;
    const follow = time !== "constant" && follows(found, statistics, ctx);
    const buckets =
      follow && spelling.buckets !== null ? cut(found, spelling.buckets, { graph, of: ctx }) : null;
    const moving = follow && (spelling.buckets === null || buckets !== null);
    const settings: PlanSettings & ResultSettings = {
      bucketOf: buckets?.bucketOf ?? null,
      timeTolerance: moving ? TIME_TOLERANCE : Number.POSITIVE_INFINITY,
      power: 2,
      steps: stepsOf(spelling),
      symmetric: qdq?.signed === true,
      float8: qdq?.float8 === true,
      powerOfTwo,
      time,
      moving: spelling.moving,
      saturation,
      weightScales,
      block: spelling.block,
      activations: qdq === null ? o.activations : "tensor",
      smooth: o.smooth,
      foldConv: qdq !== null,
      correctBias: o.correctBias,
    };
    const planning = { graph, shapes: ctx.shapes(), reader: ctx.reader, statistics, rest };
    const plans: SitePlan[] = [];
    for (const site of found.sites) {
      const plan = await planSite(site, settings, planning);
      if (plan !== null) plans.push(plan);
    }
    const setup: Setup = { found, statistics, spelling, bounds: buckets?.bounds ?? null };
    const whole = qdq?.placement === "around" ? withResults(plans, settings, planning) : plans;
    const known = new Set(whole.map((p) => p.site));
    for (const site of found.sites)
      if (!known.has(site))
        for (const l of site.layers)
          ctx.decide({
            node: l.name,
            kind: "skipped",
            rule: "no-statistics",
            why: "its input or result was not observed along the trajectory",
          });
    const kept = await select(whole, o, ctx, setup);
    if (kept.length === 0) return;
    for (const p of kept)
      for (const l of p.layers)
        ctx.decide({
          node: l.layer.name,
          kind: "applied",
          rule: ruleOf(p.site, spelling),
          from: "f32",
          to: nameOf(spelling, l.block),
          ...(spelling.block !== null && l.block === null && { why: wideWeight(p.site, spelling.block) }),
        });
    for (const { fold, share, layers } of kept)
      if (fold !== null)
        ctx.decide({
          node: layers[0]!.layer.name,
          kind: "applied",
          rule: "smooth",
          to: `share ${share} in ${fold.rule}`,
        });
    // Wider activations are multiplied in float or in 32 bits.
    reportForced(kept, { saturates: bits === 8 && integer.saturates, to: nameOf(spelling) }, ctx);
    const table = apply(ctx.model, kept, setup);
    if (table.profiles > 0) reportTime(table, buckets, ctx);
  },
});
