import type { Statistics, StatisticsRequest } from "../../../calibrate/statistics/types.ts";
import { fail } from "../../../diagnostics/index.ts";
import { cloneModel } from "../../../ir/clone.ts";
import type { Graph, Model, ValueId } from "../../../ir/graph.ts";
import { inferShapes } from "../../../ir/infer.ts";
import { type DimBindings, nodeCost } from "../../../ir/ops/queries.ts";
import { PatchBuilder } from "../../../ir/patch.ts";
import { modelBytes } from "../../../ir/weights.ts";
import { integerGain } from "../../../targets/cost/integer.ts";
import { importContrib } from "../../fuse/driver.ts";
import { definePass, type PassContext } from "../../pass.ts";
import { createClock } from "./clock.ts";
import { type Candidate, type Choice, chooseSites, spreadCalls } from "./damage.ts";
import { type QuantizeStaticOptions, staticOptions } from "./options.ts";
import { type PlanSettings, planSite, type SitePlan } from "./plan.ts";
import { type Found, findSites, type Site, type SiteOptions } from "./sites.ts";
import { writeSite } from "./write.ts";

/** A range that moves by less than this ratio over the trajectory gets one scale. */
const TIME_TOLERANCE = 1.1;

/** Models above this are not measured layer by layer: every trial loads a session. */
const TRIAL_BYTES = 256 << 20;

function regex(option: "match" | "exclude", text: string | null): RegExp | null {
  if (text === null) return null;
  try {
    return new RegExp(text);
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    return fail("OPTION_PATTERN_INVALID", { pass: "quantize-static", option, pattern: text, problem }, cause);
  }
}

function siteOptions(o: QuantizeStaticOptions): SiteOptions {
  const { minElements, guards } = o;
  return { match: regex("match", o.match), exclude: regex("exclude", o.exclude), minElements, guards };
}

function request(sites: readonly Site[], graph: Graph, rows: number): StatisticsRequest {
  const values = new Map<string, StatisticsRequest["values"][number]>();
  const want = (id: ValueId, axis: number): void => {
    const { name } = graph.value(id);
    values.set(name, { name, axis, rows });
  };
  for (const s of sites) {
    want(s.value, s.axis);
    if (s.kind === "conv") for (const l of s.layers) want(l.output, 1);
  }
  return { values: [...values.values()], grams: [] };
}

/** Writes planned sites into a model. */
function apply(
  model: Model,
  plans: readonly SitePlan[],
  found: Found,
  statistics: Statistics,
): { bytes: number; profiles: number } {
  const { graph } = model;
  const patch = new PatchBuilder(graph, "quantize-static");
  const timestep = found.anatomy.inputs.find((i) => i.role === "timestep")?.value ?? null;
  const clock = createClock({ graph, patch, timestep, timesteps: statistics.calls.map((c) => c.timestep) });
  const shapes = inferShapes(model);
  for (const plan of plans) writeSite({ graph, shapes, patch, clock }, plan);
  const table = clock.emit();
  patch.apply();
  importContrib(model);
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

/** Estimated seconds a site saves in 8 bits at the lengths of the calibration; `null` when shapes are open. */
function gainOf(site: Site, ctx: PassContext, lengths: DimBindings): number | null {
  let flops = 0;
  let quantized = 0;
  let dequantized = 0;
  for (const l of site.layers) {
    const cost = nodeCost(l.node, ctx.shapes(), lengths);
    if (cost === null) return null;
    flops += cost.flops;
    quantized = (cost.flops / (2 * (l.outputs * l.channels))) * l.channels;
    if (site.kind === "conv") dequantized += cost.bytesWritten / 4;
  }
  return integerGain({ flops, quantized, dequantized });
}

function db(v: number): number {
  return Math.round(v * 100) / 100;
}

/** Plans of the sites that stay quantized; decides on those that do not. */
async function select(
  plans: readonly SitePlan[],
  found: Found,
  o: QuantizeStaticOptions,
  ctx: PassContext,
  statistics: Statistics,
): Promise<readonly SitePlan[]> {
  const { oracle, model } = ctx;
  const lengths = calibratedLengths(model.graph, ctx);
  const worth: { plan: SitePlan; gain: number }[] = [];
  for (const plan of plans) {
    const gain = gainOf(plan.site, ctx, lengths);
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
    apply(trial, of, found, statistics);
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

export const quantizeStatic = definePass<QuantizeStaticOptions>({
  name: "quantize-static",
  family: "quantize",
  summary: "Runs convolutions and linear layers in 8 bits with scales that follow the timestep",
  doc: `Weights and activations in 8 bits, ranges from the calibration trajectory.`,
  effect: "lossy",
  minSqnrDb: 12,
  options: staticOptions,
  wantsStatistics(graph, o, ctx) {
    return request(findSites(ctx.model, ctx.shapes(), siteOptions(o)).sites, graph, o.rows);
  },
  wantsOracle: (o) => o.floor !== null || o.faster,
  version: 1,
  async run(graph, o, ctx) {
    const { statistics } = ctx;
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
    const settings: PlanSettings = {
      timeTolerance: o.time === "constant" ? Number.POSITIVE_INFINITY : TIME_TOLERANCE,
      power: 2,
      saturation: o.saturation,
      activations: o.activations,
      smooth: o.smooth,
      correctBias: o.correctBias,
    };
    const planning = { graph, shapes: ctx.shapes(), reader: ctx.reader, statistics };
    const plans: SitePlan[] = [];
    for (const site of found.sites) {
      const plan = await planSite(site, settings, planning);
      if (plan !== null) plans.push(plan);
    }
    const kept = await select(plans, found, o, ctx, statistics);
    if (kept.length === 0) return;
    for (const p of kept)
      for (const l of p.layers)
        ctx.decide({
          node: l.layer.name,
          kind: "applied",
          rule: p.site.kind === "conv" ? "integer-conv" : "integer-matmul",
          from: "f32",
          to: "a8w8",
        });
    const table = apply(ctx.model, kept, found, statistics);
    if (table.profiles > 0)
      ctx.decide({
        node: "",
        kind: "applied",
        rule: "time-table",
        why: `scales of ${table.profiles} activations follow the timestep, in a table of ${table.bytes} bytes`,
      });
  },
});
