import type { Statistics, StatisticsRequest } from "../../../calibrate/statistics/types.ts";
import { cloneModel } from "../../../ir/clone.ts";
import type { Graph, Model, Node, ValueId } from "../../../ir/graph.ts";
import { inferShapes } from "../../../ir/infer.ts";
import { type DimBindings, nodeCost } from "../../../ir/ops/queries.ts";
import { PatchBuilder } from "../../../ir/patch.ts";
import { tensorBytes } from "../../../ir/tensor.ts";
import { modelBytes } from "../../../ir/weights.ts";
import { U8_STEPS, U16_STEPS } from "../../../numeric/quantize/activation.ts";
import { integerGain } from "../../../targets/cost/integer.ts";
import { importContrib } from "../../fuse/driver.ts";
import { definePass, type PassContext } from "../../pass.ts";
import { optionPattern } from "../pattern.ts";
import { createClock } from "./clock.ts";
import { type Candidate, type Choice, chooseSites, spreadCalls } from "./damage.ts";
import { type QuantizeStaticOptions, staticDoc, staticOptions } from "./options.ts";
import { type PlanSettings, planSite, type SitePlan } from "./plan.ts";
import { type ResultSettings, withResults } from "./results.ts";
import { type Found, findSites, type Site, type SiteOptions } from "./sites.ts";
import { integerOf, type Spelling, spellingOf } from "./spelling.ts";
import { writeSite } from "./write.ts";
import { writeSiteQdq } from "./write-qdq.ts";

/** A range that moves by less than this ratio over the trajectory gets one scale. */
const TIME_TOLERANCE = 1.1;

/** Models above this are not measured layer by layer: every trial loads a session. */
const TRIAL_BYTES = 256 << 20;

const regex = (option: "match" | "exclude", text: string | null): RegExp | null =>
  optionPattern("quantize-static", option, text);

function siteOptions(o: QuantizeStaticOptions): SiteOptions {
  const { minElements, guards } = o;
  return { match: regex("match", o.match), exclude: regex("exclude", o.exclude), minElements, guards };
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
    want(s.value, s.axis);
    if (s.kind === "conv" || results) for (const l of s.layers) want(l.output, s.axis);
  }
  return { values: [...values.values()], grams: [] };
}

/** What writing sites depends on besides their plans. */
interface Setup {
  readonly found: Found;
  readonly statistics: Statistics;
  readonly spelling: Spelling;
}

/** Writes planned sites into a model. */
function apply(model: Model, plans: readonly SitePlan[], setup: Setup): { bytes: number; profiles: number } {
  const { found, statistics, spelling } = setup;
  const { graph } = model;
  const patch = new PatchBuilder(graph, "quantize-static");
  const timestep = found.anatomy.inputs.find((i) => i.role === "timestep")?.value ?? null;
  const clock = createClock({ graph, patch, timestep, timesteps: statistics.calls.map((c) => c.timestep) });
  const shapes = inferShapes(model);
  const { qdq } = spelling;
  const writing = { graph, shapes, patch, clock };
  for (const plan of plans)
    if (qdq === null) writeSite(writing, plan);
    else writeSiteQdq({ ...writing, form: qdq }, plan);
  const table = clock.emit();
  patch.apply();
  if (qdq === null || qdq.domain !== "" || qdq.weightDomain !== "") importContrib(model);
  return table;
}

/** Lengths of symbolic dims as the calibration ran them. */
function calibratedLengths(graph: Graph, ctx: PassContext): DimBindings {
  const out: Record<string, number> = {};
  const feeds = ctx.oracle?.calls[0]?.feeds;
  for (const id of graph.inputs) {
    const { name, type } = graph.value(id);
    const dims = feeds?.get(name)?.dims;
    if (dims === undefined || type?.kind !== "tensor" || type.shape === null) continue;
    for (const [i, d] of type.shape.entries()) if (typeof d === "string") out[d] = dims[i]!;
  }
  return out;
}

function constantBytes(graph: Graph, node: Node): number {
  return node.inputs.reduce((n, id) => {
    const t = graph.constant(id);
    return t === null ? n : n + tensorBytes(t);
  }, 0);
}

/** Estimated seconds a site saves in 8 bits at the lengths of the calibration; `null` when shapes are open. */
function gainOf(site: Site, ctx: PassContext, lengths: DimBindings): number | null {
  let flops = 0;
  let quantized = 0;
  let dequantized = 0;
  for (const l of site.layers) {
    const cost = nodeCost(l.node, ctx.shapes(), lengths);
    if (cost === null) return null;
    flops += cost.flops;
    // What the node reads beside its constants is the activation.
    quantized = (cost.bytesRead - constantBytes(ctx.model.graph, l.node)) / 4;
    if (site.kind === "conv") dequantized += cost.bytesWritten / 4;
  }
  return integerGain({ flops, quantized, dequantized });
}

function db(v: number): number {
  return Math.round(v * 100) / 100;
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

/** Says of every quantized layer what options took off that would have protected it. */
function reportForced(plans: readonly SitePlan[], ctx: PassContext): void {
  for (const { layer, fit } of plans.flatMap((p) => p.layers)) {
    if (layer.lifted !== null)
      ctx.decide({
        node: layer.name,
        kind: "forced",
        rule: layer.lifted.rule,
        why: `quantized because options lift the guard: ${layer.lifted.why}`,
        to: "a8w8",
      });
    if (fit.saturates)
      ctx.decide({
        node: layer.name,
        kind: "forced",
        rule: "saturation",
        why: "options allow neighbouring weights whose 16-bit sums overflow on x86 processors without VNNI: wrong results there",
        to: "a8w8",
      });
  }
}

/** Plans of the sites that stay quantized; decides on those that do not. */
async function select(
  plans: readonly SitePlan[],
  o: QuantizeStaticOptions,
  ctx: PassContext,
  setup: Setup,
): Promise<readonly SitePlan[]> {
  const { oracle, model } = ctx;
  const lengths = calibratedLengths(model.graph, ctx);
  const worth: { plan: SitePlan; gain: number }[] = [];
  for (const plan of plans) {
    // The cost table is that of operators on integers.
    const gain = setup.spelling.qdq === null ? gainOf(plan.site, ctx, lengths) : null;
    if (gain !== null && gain <= 0 && o.faster)
      for (const l of plan.layers)
        ctx.decide({
          node: l.layer.name,
          kind: "skipped",
          rule: "no-gain",
          why: "converting its activations is estimated to cost more than 8-bit arithmetic saves",
        });
    else worth.push({ plan, gain: gain ?? 0 });
  }
  const all = worth.map((w) => w.plan);
  if (o.floor === null) return all;
  const skip = (why: string): readonly SitePlan[] => {
    ctx.decide({ node: "", kind: "skipped", rule: "fidelity-floor", why });
    return all;
  };
  if (oracle === null) return skip("the original cannot be sampled here, so damage is not measured");
  if (modelBytes(model) > TRIAL_BYTES) return skip("the model is too large to be measured layer by layer");
  const build = (of: readonly SitePlan[]): Model => {
    const trial = cloneModel(model);
    apply(trial, of, setup);
    return trial;
  };
  const calls = spreadCalls(oracle.calls.length);
  const candidates: Candidate[] = [];
  for (const { plan, gain } of worth)
    candidates.push({ plan, gain, alone: await oracle.errors(build([plan]), calls) });
  const choice = await chooseSites(candidates, o.floor, { oracle, calls, build });
  report(choice, o.floor, ctx);
  return choice.kept.map((c) => c.plan);
}

function report(choice: Choice, floor: { mean: number; worst: number }, ctx: PassContext): void {
  for (const c of choice.dropped)
    for (const l of c.plan.layers)
      ctx.decide({
        node: l.layer.name,
        kind: "skipped",
        rule: "damage",
        why: `its activations stay float to keep the fidelity floor: alone in 8 bits it costs ${db(c.alone.mean)} dB mean, ${db(c.alone.worst)} dB at the worst step`,
        error: { metric: "sqnr-db", value: db(c.alone.worst) },
      });
  const { together } = choice;
  if (together === null) return;
  const met = together.mean >= floor.mean && together.worst >= floor.worst;
  ctx.decide({
    node: "",
    kind: met ? "applied" : "downgraded",
    rule: "fidelity-floor",
    why: `measured on the calibration trajectory: mean ${db(together.mean)} dB, worst step ${db(together.worst)} dB; noise of single layers adds up to ${db(1 / choice.additivity)} of it`,
    to: `mean ${floor.mean} dB, worst ${floor.worst} dB`,
    error: { metric: "sqnr-db", value: db(together.mean) },
  });
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
    const results = spellingOf(o, integer, { ...ctx, decide: () => undefined }).qdq !== null;
    const { sites } = findSites(ctx.model, ctx.shapes(), siteOptions(o));
    return request(sites, graph, { rows: o.rows, results });
  },
  wantsOracle(o, target) {
    const integer = integerOf(target);
    return integer !== null && (o.floor !== null || (o.faster && integer.spelling === "qlinear"));
  },
  version: 2,
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
    const found = findSites(ctx.model, ctx.shapes(), siteOptions(o));
    for (const l of found.left) ctx.decide({ node: l.node.name, kind: "skipped", rule: l.rule, why: l.why });
    const spelling = spellingOf(o, integer, ctx);
    const { bits, time, saturation, perChannel, qdq } = spelling;
    const moving = time !== "constant" && follows(found, statistics, ctx);
    const settings: PlanSettings & ResultSettings = {
      timeTolerance: moving ? TIME_TOLERANCE : Number.POSITIVE_INFINITY,
      power: 2,
      steps: bits === 8 ? U8_STEPS : U16_STEPS,
      time,
      saturation,
      perChannel,
      activations: qdq === null ? o.activations : "tensor",
      smooth: o.smooth,
      correctBias: o.correctBias,
    };
    const planning = { graph, shapes: ctx.shapes(), reader: ctx.reader, statistics };
    const plans: SitePlan[] = [];
    for (const site of found.sites) {
      const plan = await planSite(site, settings, planning);
      if (plan !== null) plans.push(plan);
    }
    const setup: Setup = { found, statistics, spelling };
    const whole = qdq === null ? plans : withResults(plans, settings, planning);
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
          to: bits === 8 ? "a8w8" : "a16w8",
        });
    reportForced(kept, ctx);
    const table = apply(ctx.model, kept, setup);
    if (table.profiles > 0)
      ctx.decide({
        node: "",
        kind: "applied",
        rule: "time-table",
        why: `scales of ${table.profiles} activations follow the timestep, in a table of ${table.bytes} bytes`,
      });
  },
});
