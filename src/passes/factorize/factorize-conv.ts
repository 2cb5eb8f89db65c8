import type { Statistics } from "../../calibrate/statistics/types.ts";
import { elementCount } from "../../ir/dtype.ts";
import type { Graph } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { type Tensor, tensorBytes } from "../../ir/tensor.ts";
import type { TuckerRanks } from "../../numeric/factorize/tucker.ts";
import type { LayerError } from "../../numeric/quantize/error.ts";
import { elementsOf } from "../../runtime/kernels/elements.ts";
import { type TuckerTensors, tuckerSpectraTensors } from "../../runtime/kernels/factor-tucker.ts";
import { heldOutError, heldOutField, heldOutInputs } from "../held-out.ts";
import { type Decision, definePass, type PassContext } from "../pass.ts";
import { leftLines } from "../preview-text.ts";
import { type Candidate, flopsOf, obstacle } from "./allocate.ts";
import { type Lengths, lengthsOf } from "./lengths.ts";
import { DAMP } from "./low-rank.ts";
import { FACTORIZE_PROPERTIES, type FactorizeOptions } from "./options.ts";
import { type PlannedForm, type PlannedGroup, previewFactors } from "./preview.ts";
import { allocated, decideLengths, decideWeighting } from "./ranks.ts";
import { type Site, type SiteContext, sitesOf } from "./sites.ts";
import { inputRequest, statisticsOf } from "./statistics.ts";
import {
  type Convolution,
  convolutionWork,
  sizesOf,
  tuckerOf,
  tuckerWeight,
  tuckerWork,
  writeTucker,
} from "./tucker.ts";

/** Options of `factorize-conv`: without `weighting` the plain HOSVD. */
export type FactorizeConvOptions = FactorizeOptions;

const PASS = "factorize-conv";

/** Convolutions of more than one tap. */
function candidatesOf(graph: Graph, o: FactorizeConvOptions, ctx: SiteContext): Site[] {
  return sitesOf(PASS, graph, o, ctx).filter((s) => s.form === "conv" && s.columns > s.layer.tensor.dims[1]!);
}

/** Ranks are multiples of the target's channel alignment, or whole where there are fewer. */
function aligned(rank: number, most: number, step: number): number {
  return Math.max(1, Math.min(most, Math.max(step, Math.round(rank / step) * step)));
}

const stepOf = (ctx: Pick<PassContext, "target">): number => ctx.target?.align.channels ?? 4;

async function doubles(t: Tensor, ctx: PassContext): Promise<Float64Array> {
  return elementsOf({ dtype: t.dtype, dims: t.dims, bytes: await ctx.reader.read(t) }) as Float64Array;
}

/** Tails of a spectrum relative to its sum: entry r is what rank r leaves. */
function tails(values: Float64Array): Float64Array {
  const out = new Float64Array(values.length + 1);
  for (let i = values.length - 1; i >= 0; i--) out[i] = out[i + 1]! + values[i]!;
  const sum = out[0]!;
  return out.map((v) => (sum > 0 ? v / sum : 0));
}

/** Shares of energy that each mode may lose, from next to nothing to half, in steps of a decibel. */
const LOSSES = Array.from({ length: 58 }, (_, i) => 10 ** ((i - 60) / 10));

/** Pairs of ranks that lose the same in both modes and pay, cheapest first; the sum of both bounds the error. */
async function candidates(
  c: Convolution,
  lengths: Lengths,
  ctx: PassContext,
): Promise<Candidate<TuckerRanks>[]> {
  const original = convolutionWork(c, lengths);
  const step = stepOf(ctx);
  const { channels, outputs } = sizesOf(c);
  const smallest = { input: Math.min(step, channels), output: Math.min(step, outputs) };
  if (obstacle(ctx.target, original, tuckerWork(c, lengths, smallest)) !== null) return [];
  const spectra = tuckerSpectraTensors(c.site.layer.tensor, { damp: DAMP, statistics: c.statistics });
  const [input, output] = [
    tails(await doubles(spectra.input, ctx)),
    tails(await doubles(spectra.output, ctx)),
  ];
  const found = new Map<string, Candidate<TuckerRanks>>();
  for (const loss of LOSSES) {
    const ranks = {
      input: aligned(
        input.findIndex((t) => t <= loss),
        channels,
        step,
      ),
      output: aligned(
        output.findIndex((t) => t <= loss),
        outputs,
        step,
      ),
    };
    const work = tuckerWork(c, lengths, ranks);
    if (obstacle(ctx.target, original, work) !== null) continue;
    found.set(`${ranks.input} ${ranks.output}`, {
      ranks,
      work,
      error: input[ranks.input]! + output[ranks.output]!,
    });
  }
  return [...found.values()].sort((a, b) => flopsOf(a.work) - flopsOf(b.work));
}

/** Ranks in proportion to channels and outputs that keep a share of the operations. */
function ranksAt(c: Convolution, ratio: number, lengths: Lengths, step: number): TuckerRanks {
  const { channels, outputs } = sizesOf(c);
  const limit = ratio * flopsOf(convolutionWork(c, lengths));
  const at = (share: number): TuckerRanks => ({
    input: aligned(share * channels, channels, step),
    output: aligned(share * outputs, outputs, step),
  });
  let [low, high] = [0, 1];
  for (let i = 0; i < 20; i++) {
    const middle = (low + high) / 2;
    if (flopsOf(tuckerWork(c, lengths, at(middle))) <= limit) low = middle;
    else high = middle;
  }
  return at(low);
}

/** Ranks of a convolution under a budget that spectra have no say in; `null` where they decide. */
function fixedRanks(
  c: Convolution,
  { ratio, rank }: FactorizeConvOptions["budget"],
  lengths: Lengths,
  step: number,
): TuckerRanks | null {
  const { channels, outputs } = sizesOf(c);
  if (ratio !== undefined) return ranksAt(c, ratio, lengths, step);
  return rank === undefined ? null : { input: Math.min(rank, channels), output: Math.min(rank, outputs) };
}

/** A convolution with the ranks it could get; where spectra decide, those in proportion to channels and outputs. */
function plannedConv(
  c: Convolution,
  lengths: Lengths,
  budget: FactorizeConvOptions["budget"],
  step: number,
): PlannedGroup {
  const { channels, outputs, taps } = sizesOf(c);
  const { tensor, node } = c.site.layer;
  const each = tensorBytes(tensor) / elementCount(tensor.dims);
  const formOf = (r: TuckerRanks): PlannedForm => ({
    text: `ranks ${r.output}, ${r.input}`,
    work: tuckerWork(c, lengths, r),
    bytes: each * (channels * r.input + r.input * r.output * taps + r.output * outputs),
  });
  function* upTo(): Iterable<PlannedForm> {
    const most = Math.max(channels, outputs);
    for (let k = step; k < most; k += step)
      yield formOf({
        input: aligned((k / most) * channels, channels, step),
        output: aligned((k / most) * outputs, outputs, step),
      });
  }
  const fixed = fixedRanks(c, budget, lengths, step);
  return {
    name: node.name,
    size: `${outputs}×${channels}×${taps}`,
    original: convolutionWork(c, lengths),
    bytes: tensorBytes(tensor),
    forms: fixed === null ? { upTo: upTo() } : [formOf(fixed)],
  };
}

async function ranksOf(
  all: readonly Convolution[],
  lengths: Lengths,
  o: FactorizeConvOptions,
  ctx: PassContext,
): Promise<(TuckerRanks | null)[]> {
  const { keep } = o.budget;
  if (keep === undefined) return all.map((c) => fixedRanks(c, o.budget, lengths, stepOf(ctx)));
  const rankable = all.map((c) => ({
    name: c.site.layer.node.name,
    original: convolutionWork(c, lengths),
    candidates: () => candidates(c, lengths, ctx),
    probe: (ranks: TuckerRanks) => {
      const { value, tensor } = c.site.layer;
      const make = () => tuckerWeight(c, tuckerOf(c, ranks), ctx.reader);
      return { weights: [{ value, original: tensor, make }] };
    },
  }));
  return await allocated(rankable, keep, o, ctx);
}

/** A convolution that was written as its factors. */
interface Written {
  readonly conv: Convolution;
  readonly ranks: TuckerRanks;
  readonly factors: TuckerTensors;
  readonly bytes: number;
}

/** Error of a convolution on held-out inputs. */
async function heldError(w: Written, held: Statistics | null, ctx: PassContext): Promise<LayerError | null> {
  if (held === null) return null;
  const { node, tensor } = w.conv.site.layer;
  const after = await tuckerWeight(w.conv, w.factors, ctx.reader);
  const layer = { name: node.name, outAxis: 0, before: tensor, after, shift: w.factors.correction };
  return await heldOutError(layer, held, ctx.reader);
}

async function explain(
  w: Written,
  held: Statistics | null,
  o: FactorizeConvOptions,
  ctx: PassContext,
): Promise<Decision> {
  const { channels, outputs, taps } = sizesOf(w.conv);
  const [noise, signal] = o.score ? await doubles(w.factors.figures, ctx) : [0, 0];
  const other = o.score ? await heldError(w, held, ctx) : null;
  return {
    node: w.conv.site.layer.node.name,
    kind: "applied",
    rule: w.conv.statistics === null ? "tucker-plain" : "tucker",
    from: `${outputs}×${channels}×${taps}`,
    to: `ranks ${w.ranks.output}, ${w.ranks.input}`,
    bytesBefore: tensorBytes(w.conv.site.layer.tensor),
    bytesAfter: w.bytes,
    ...(noise! > 0 && {
      error: { metric: "sqnr-db", value: 10 * Math.log10(signal! / noise!), ...heldOutField([other]) },
    }),
  };
}

export const factorizeConv = definePass<FactorizeConvOptions>({
  name: PASS,
  family: "factorize",
  summary: "Writes convolutions of several taps as three: to fewer channels, between fewer, back to all",
  doc: `Tucker-2 (Kim et al., arXiv:1511.06530): a k×k convolution becomes 1×1 onto a basis of its input channels, k×k
between the bases, and 1×1 from a basis of its outputs. Channels are whitened by their covariance along sampled
trajectories before the bases are sought, and un-whitened after; both alternate (HOOI). Where the Gram matrix of patches is
known (up to 4096 inputs) the core and the outer basis are then fitted to it by reduced-rank regression, in closed form,
so that what neighbouring pixels have in common counts too. A bias stays where it was, and takes up the mean of the error
when nothing else reads it. The report's figure is the SQNR of the layer's output as predicted from the Gram matrix.
\`weighting: none\` is the plain HOSVD.

\`budget: { ratio }\` takes ranks in proportion to channels and outputs; \`keep\` lets both modes of a layer lose the same
share of energy and allocates the budget over layers as \`factorize-linear\` does.

Left alone: 1×1 convolutions, which that pass factors, convolutions in groups, layers whose factors take no fewer
operations or, by the target's cost model, no less time, weights that others read, and layers behind guards. Models that
cannot be sampled get the plain HOSVD, and the report says so.`,
  effect: "lossy",
  minSqnrDb: 3,
  options: { type: "object", additionalProperties: false, properties: FACTORIZE_PROPERTIES },
  wantsStatistics(graph, o, ctx) {
    if (o.weighting === "none") return null;
    const sites = candidatesOf(graph, o, { model: ctx.model, shapes: () => ctx.shapes(), decide: () => {} });
    const grams = sites.map((s) => inputRequest(graph, s, ctx)).filter((r) => r !== null);
    return grams.length === 0 ? null : { values: [], grams };
  },
  wantsOracle: (o) => o.measure && o.budget.keep !== undefined,
  preview(graph, o, ctx) {
    const left = leftLines();
    const sites = candidatesOf(graph, o, { ...ctx, decide: left.decide });
    const lengths = lengthsOf({ ...ctx, oracle: null });
    const groups = sites.map((site) =>
      plannedConv({ site, statistics: null }, lengths, o.budget, stepOf(ctx)),
    );
    return [...previewFactors(groups, lengths, o.budget, ctx), ...left.lines("layer")];
  },
  version: 1,
  async run(graph, o, ctx) {
    const known = o.weighting === "none" ? null : ctx.statistics;
    const all = candidatesOf(graph, o, ctx).map(
      (site): Convolution => ({
        site,
        statistics: statisticsOf(graph, [site], known),
      }),
    );
    if (all.length === 0) return;
    const unknown = all.filter((c) => c.statistics === null).map((c) => c.site.layer.node.name);
    decideWeighting(unknown, o, ctx);
    const lengths = lengthsOf(ctx);
    decideLengths(lengths, ctx);
    const chosen = await ranksOf(all, lengths, o, ctx);
    const patch = new PatchBuilder(graph, PASS);
    const written: Written[] = [];
    for (const [i, conv] of all.entries()) {
      const ranks = chosen[i];
      if (ranks === null || ranks === undefined) continue;
      const why = obstacle(ctx.target, convolutionWork(conv, lengths), tuckerWork(conv, lengths, ranks));
      if (why !== null) {
        const { name } = conv.site.layer.node;
        ctx.decide({
          node: name,
          kind: "skipped",
          rule: "no-gain",
          why,
          to: `ranks ${ranks.output}, ${ranks.input}`,
        });
        continue;
      }
      const factors = tuckerOf(conv, ranks);
      written.push({ conv, ranks, factors, bytes: writeTucker(graph, patch, conv, factors) });
    }
    const held = await heldOutInputs(
      o.score ? written.map((w) => inputRequest(graph, w.conv.site, ctx)) : [],
      ctx,
    );
    patch.apply();
    for (const d of await Promise.all(written.map((w) => explain(w, held, o, ctx)))) ctx.decide(d);
  },
});
