import type { Statistics, StatisticsRequest, ValueStatistics } from "../../../calibrate/statistics/types.ts";
import type { Graph, ValueId } from "../../../ir/graph.ts";
import { PatchBuilder } from "../../../ir/patch.ts";
import { f32Tensor } from "../../../ir/tensor.ts";
import type { SaturationRule } from "../../../numeric/quantize/saturation.ts";
import { asF32 } from "../../../runtime/kernels/elements.ts";
import { quantizeScaled } from "../../../runtime/kernels/quantize-scaled.ts";
import {
  integerConv,
  integerMatMul,
  type QuantizedActivation,
  quantizeActivation,
  u8Constant,
} from "../../../targets/lower/integer.ts";
import { importContrib } from "../../fuse/driver.ts";
import { definePass, type PassContext } from "../../pass.ts";
import { type Clock, createClock } from "./clock.ts";
import { findFold } from "./fold.ts";
import { type GridSettings, type Quantizer, quantizerOf } from "./grids.ts";
import { findSites, type Site, type SiteOptions, type StaticLayer } from "./sites.ts";
import { fitWeight, inputEnergy } from "./weights.ts";

export interface QuantizeStaticOptions {
  saturation: SaturationRule;
  time: "gathered" | "constant";
  channels: boolean;
  smooth: boolean;
  correctBias: boolean;
  rows: number;
  match: string | null;
  exclude: string | null;
  minElements: number;
}

const OUTPUT_ZERO = 128;

function siteOptions(o: QuantizeStaticOptions): SiteOptions {
  return {
    match: o.match === null ? null : new RegExp(o.match),
    exclude: o.exclude === null ? null : new RegExp(o.exclude),
    minElements: o.minElements,
    edges: false,
  };
}

function request(sites: readonly Site[], graph: Graph, rows: number): StatisticsRequest {
  const values = new Map<string, { name: string; axis: number; rows: number }>();
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

/** Everything that writing one site needs. */
interface Work {
  readonly patch: PatchBuilder;
  readonly clock: Clock;
  readonly ctx: PassContext;
  readonly o: QuantizeStaticOptions;
  readonly statistics: Statistics;
  readonly settings: GridSettings;
}

async function floatsOf(ctx: PassContext, t: import("../../../ir/tensor.ts").Tensor): Promise<Float32Array> {
  return asF32({ dtype: t.dtype, dims: t.dims, bytes: await ctx.reader.read(t) });
}

async function writeSite(w: Work, site: Site, graph: Graph, x: ValueStatistics): Promise<void> {
  const { patch, clock, ctx, o } = w;
  const weights = new Map<StaticLayer, Float32Array>();
  const importance = new Float64Array(site.channels);
  for (const l of site.layers) {
    const v = await floatsOf(ctx, l.weight);
    weights.set(l, v);
    inputEnergy(v, l).forEach((e, c) => {
      importance[c] = importance[c]! + e;
    });
  }
  const conv = site.kind === "conv";
  const fold = conv || !o.smooth ? null : findFold(graph, ctx.shapes(), site);
  const perChannel = conv ? o.channels : fold !== null;
  const q: Quantizer = quantizerOf(w.statistics, x, importance, perChannel ? "common" : "tensor", w.settings);
  const base = perChannel ? q.scale : new Float64Array(site.channels).fill(1);
  if (fold !== null)
    fold.apply(
      patch,
      base.map((s) => 1 / s),
    );
  const zero = u8Constant(patch, [q.zero[0]!], false);
  const told = clock.scale(perChannel ? [1] : [q.scale[0]!], q.profile);
  const vector = perChannel && conv;
  const value = quantizeActivation(patch, site.value, {
    scale: vector ? clock.scale(q.scale, q.profile) : told,
    zero: vector ? u8Constant(patch, new Uint8Array(site.channels).fill(q.zero[0]!), true) : zero,
    axis: site.axis,
    name: `q${site.value}`,
  });
  const input: QuantizedActivation = { value, scale: told, zero };
  const mean = q.mean.map((m, c) => m / base[c]!);
  for (const l of site.layers) {
    const fit = fitWeight(weights.get(l)!, l, base, mean, o.saturation);
    const bias = new Float64Array(l.outputs);
    if (l.bias !== null) bias.set(await floatsOf(ctx, l.bias));
    if (o.correctBias) for (let n = 0; n < l.outputs; n++) bias[n] = bias[n]! - fit.shift[n]!;
    const weight = quantizeScaled(l.weight, {
      outAxis: l.outAxis,
      inAxis: l.inAxis,
      factor: f32Tensor(base),
      scale: f32Tensor(fit.scale),
    });
    const name = `w${l.output}`;
    let out: ValueId;
    if (l.kind === "matmul") {
      const plain = l.bias === null && !o.correctBias;
      out = integerMatMul(patch, l.node, {
        input,
        weight,
        weightScale: f32Tensor(fit.scale),
        bias: plain ? null : f32Tensor(bias),
        name,
      });
      if (l.biasNode !== null) patch.remove(l.biasNode.id);
    } else {
      const stats = w.statistics.value(graph.value(l.output).name)!;
      const ones = new Float64Array(l.outputs).fill(1);
      const y = quantizerOf(w.statistics, stats, ones, o.channels ? "channel" : "tensor", w.settings);
      const at = (a: ArrayLike<number>, n: number): number => a[a.length === 1 ? 0 : n]!;
      const scales = Float64Array.from(ones, (_, n) => at(y.scale, n));
      const zeros = Uint8Array.from(ones, (_, n) => at(y.zero, n));
      const beta = bias.map((b, n) => b / fit.scale[n]!);
      const gamma = scales.map((s, n) => ((zeros[n]! - OUTPUT_ZERO) * s) / fit.scale[n]!);
      out = integerConv(patch, l.node, {
        input,
        weight,
        weightScale: f32Tensor(fit.scale.map((s, n) => s / scales[n]!)),
        bias: clock.bias(beta, gamma, q.profile, y.profile),
        outputFactor: clock.scale([1], y.profile),
        outputZero: u8Constant(patch, [OUTPUT_ZERO], false),
        outputScale: clock.scale(scales, y.profile),
        outputZeros: u8Constant(patch, zeros, true),
        name,
      });
    }
    patch.redirect(l.output, out);
    patch.remove(l.node.id);
    ctx.decide({
      node: l.name,
      kind: "applied",
      rule: conv ? "integer-conv" : "integer-matmul",
      from: "f32",
      to: "a8w8",
      error: { metric: "sqnr-db", value: Math.round(-1000 * Math.log10(Math.max(fit.error, 1e-15))) / 100 },
    });
  }
}

export const quantizeStatic = definePass<QuantizeStaticOptions>({
  name: "quantize-static",
  family: "quantize",
  summary: "Runs convolutions and linear layers in 8 bits with scales that follow the timestep",
  doc: ``,
  effect: "lossy",
  minSqnrDb: 12,
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      saturation: {
        enum: ["pairs", "seven-bit", "none"],
        default: "pairs",
        description: "How 16-bit additions of x86 processors without VNNI are kept exact.",
      },
      time: {
        enum: ["gathered", "constant"],
        default: "gathered",
        description: "Scales that follow the timestep, or one for all.",
      },
      channels: {
        type: "boolean",
        default: true,
        description: "Give every channel of a convolution's input and output a scale of its own.",
      },
      smooth: {
        type: "boolean",
        default: true,
        description: "Fold a scale per channel of a linear layer's input into the norm before it.",
      },
      correctBias: {
        type: "boolean",
        default: true,
        description: "Take the mean of the weights' rounding error out of the bias.",
      },
      rows: {
        type: "integer",
        minimum: 0,
        default: 64,
        description: "Positions per call that the range search sees.",
      },
      match: {
        type: ["string", "null"],
        default: null,
        description: "Regular expression; only layers whose node name matches.",
      },
      exclude: {
        type: ["string", "null"],
        default: null,
        description: "Regular expression; layers whose node name matches stay float.",
      },
      minElements: {
        type: "integer",
        minimum: 1,
        default: 1024,
        description: "Layers with smaller weights stay float.",
      },
    },
  },
  wantsStatistics(graph, o, ctx) {
    return request(findSites(ctx.model, ctx.shapes(), siteOptions(o)).sites, graph, o.rows);
  },
  version: 1,
  async run(graph, o, ctx) {
    const { statistics } = ctx;
    if (statistics === null) {
      ctx.decide({
        node: "",
        kind: "skipped",
        rule: "no-calibration",
        why: "there are no activation statistics: the model cannot be sampled here",
      });
      return;
    }
    const found = findSites(ctx.model, ctx.shapes(), siteOptions(o));
    const patch = new PatchBuilder(graph, "quantize-static");
    const timestep = found.anatomy.inputs.find((i) => i.role === "timestep")?.value ?? null;
    const clock = createClock({ graph, patch, timestep, timesteps: statistics.calls.map((c) => c.timestep) });
    const settings: GridSettings = {
      timeTolerance: o.time === "constant" ? Number.POSITIVE_INFINITY : 1.1,
      power: 2,
    };
    const work: Work = { patch, clock, ctx, o, statistics, settings };
    for (const l of found.left) ctx.decide({ node: l.node.name, kind: "skipped", rule: l.rule, why: l.why });
    for (const site of found.sites) {
      const x = statistics.value(site.name);
      if (x === undefined) continue;
      await writeSite(work, site, graph, x);
    }
    clock.emit();
    patch.apply();
    importContrib(ctx.model);
  },
});
