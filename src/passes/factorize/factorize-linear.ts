import type { Statistics } from "../../calibrate/statistics/types.ts";
import { elementCount } from "../../ir/dtype.ts";
import type { Dense } from "../../ir/evaluator.ts";
import type { Graph } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { type Tensor, tensorBytes } from "../../ir/tensor.ts";
import type { LayerError } from "../../numeric/quantize/error.ts";
import { elementsOf } from "../../runtime/kernels/elements.ts";
import type { LowRankTensors } from "../../runtime/kernels/factor-low-rank.ts";
import { spectrumTensor } from "../../runtime/kernels/weighed-spectrum.ts";
import { heldOutError, heldOutField, heldOutInputs } from "../held-out.ts";
import { type Decision, definePass, type PassContext } from "../pass.ts";
import { leftLines } from "../preview-text.ts";
import { type Candidate, flopsOf, obstacle } from "./allocate.ts";
import { type Lengths, lengthsOf } from "./lengths.ts";
import {
  DAMP,
  factorsOf,
  fullRank,
  type Group,
  lowRankWork,
  originalWork,
  standsFor,
  writeFactors,
} from "./low-rank.ts";
import type { Probe } from "./measure.ts";
import { FACTORIZE_PROPERTIES, type FactorizeOptions } from "./options.ts";
import { type PlannedForm, type PlannedGroup, previewFactors } from "./preview.ts";
import { allocated, decideLengths, decideWeighting } from "./ranks.ts";
import { groupSites, type Site, sitesOf } from "./sites.ts";
import { inputRequest, statisticsOf } from "./statistics.ts";

/** Options of `factorize-linear`. */
export interface FactorizeLinearOptions extends FactorizeOptions {
  merge: boolean;
  kernels: boolean;
}

const PASS = "factorize-linear";

function groupsOf(graph: Graph, o: FactorizeLinearOptions, ctx: PassContext): Group[] {
  const sites = candidatesOf(graph, o, ctx);
  const known = o.weighting === "none" ? null : ctx.statistics;
  return groupSites(sites, o.merge).map((g) => ({
    sites: g as [Site, ...Site[]],
    statistics: statisticsOf(graph, g, known),
  }));
}

function candidatesOf(
  graph: Graph,
  o: FactorizeLinearOptions,
  ctx: Pick<PassContext, "model" | "shapes" | "decide">,
): Site[] {
  const all = sitesOf(PASS, graph, o, ctx);
  const wide = all.filter((s) => !o.kernels && s.form === "conv" && s.columns > s.layer.tensor.dims[1]!);
  if (wide.length > 0)
    ctx.decide({
      node: "",
      kind: "skipped",
      rule: "kernels",
      why: "options leave convolutions with more than one tap as they are",
      count: wide.length,
    });
  return all.filter((s) => !wide.includes(s));
}

/** Ranks are multiples of the target's channel alignment. */
const stepOf = (ctx: Pick<PassContext, "target">): number => ctx.target?.align.channels ?? 4;

const nameOf = (g: Group): string => g.sites[0].layer.node.name;

async function doubles(t: Tensor, ctx: PassContext): Promise<Float64Array> {
  return elementsOf({ dtype: t.dtype, dims: t.dims, bytes: await ctx.reader.read(t) }) as Float64Array;
}

/** Ranks that pay, with the relative error each leaves. */
async function candidates(g: Group, lengths: Lengths, ctx: PassContext): Promise<Candidate<number>[]> {
  const original = originalWork(g, lengths);
  const step = stepOf(ctx);
  const paying: { ranks: number; work: ReturnType<typeof lowRankWork> }[] = [];
  for (let rank = step; rank < fullRank(g); rank += step) {
    const work = lowRankWork(g, lengths, rank);
    if (obstacle(ctx.target, original, work) !== null) break;
    paying.push({ ranks: rank, work });
  }
  if (paying.length === 0) return [];
  const { form } = g.sites[0];
  const tensors = g.sites.map((s) => s.layer.tensor);
  const spectrum = await doubles(
    spectrumTensor(tensors, { form, damp: DAMP, statistics: g.statistics }),
    ctx,
  );
  const tail = new Float64Array(spectrum.length + 1);
  for (let i = spectrum.length - 1; i >= 0; i--) tail[i] = tail[i + 1]! + spectrum[i]!;
  return paying.map((p) => ({ ...p, error: tail[0]! > 0 ? tail[p.ranks]! / tail[0]! : 0 }));
}

/** The group at one of its ranks, ready to be measured. */
function probeOf(g: Group, rank: number, ctx: PassContext): Probe {
  const { first, seconds } = factorsOf(g, rank);
  return {
    weights: g.sites.map((site, i) => ({
      value: site.layer.value,
      original: site.layer.tensor,
      make: (): Promise<Dense> => standsFor(site, first, seconds[i]!, ctx.reader),
    })),
  };
}

/** The rank that keeps a share of a group's operations. */
function rankAt(g: Group, ratio: number, lengths: Lengths, step: number): number {
  const one = flopsOf(lowRankWork(g, lengths, 1));
  const rank = Math.floor((ratio * flopsOf(originalWork(g, lengths))) / one / step) * step;
  return Math.max(Math.min(step, fullRank(g)), Math.min(rank, fullRank(g)));
}

/** A group with the ranks it could get. */
function plannedGroup(
  g: Group,
  lengths: Lengths,
  budget: FactorizeOptions["budget"],
  step: number,
): PlannedGroup {
  const [lead] = g.sites;
  const each = (t: Tensor): number => tensorBytes(t) / elementCount(t.dims);
  const formOf = (rank: number): PlannedForm => ({
    text: `rank ${rank}`,
    work: lowRankWork(g, lengths, rank),
    bytes: g.sites.reduce(
      (n, s) => n + each(s.layer.tensor) * rank * s.rows,
      each(lead.layer.tensor) * rank * lead.columns,
    ),
  });
  function* upTo(): Iterable<PlannedForm> {
    for (let rank = step; rank < fullRank(g); rank += step) yield formOf(rank);
  }
  const { ratio, rank } = budget;
  return {
    name: nameOf(g),
    size: `${g.sites.length > 1 ? `${g.sites.length} layers of ` : ""}${lead.rows}×${lead.columns}`,
    original: originalWork(g, lengths),
    bytes: g.sites.reduce((n, s) => n + tensorBytes(s.layer.tensor), 0),
    forms:
      ratio !== undefined
        ? [formOf(rankAt(g, ratio, lengths, step))]
        : rank !== undefined
          ? [formOf(Math.min(rank, fullRank(g)))]
          : { upTo: upTo() },
  };
}

async function ranksOf(
  groups: readonly Group[],
  lengths: Lengths,
  o: FactorizeLinearOptions,
  ctx: PassContext,
): Promise<(number | null)[]> {
  const { keep, ratio, rank } = o.budget;
  if (keep !== undefined) {
    const rankable = groups.map((g) => ({
      name: nameOf(g),
      original: originalWork(g, lengths),
      candidates: () => candidates(g, lengths, ctx),
      probe: (r: number) => probeOf(g, r, ctx),
    }));
    return await allocated(rankable, keep, o, ctx);
  }
  return groups.map((g) =>
    ratio === undefined ? Math.min(rank!, fullRank(g)) : rankAt(g, ratio, lengths, stepOf(ctx)),
  );
}

/** A group that was written as its factors. */
interface Written {
  readonly group: Group;
  readonly rank: number;
  readonly factors: LowRankTensors;
  readonly bytes: readonly number[];
}

/** Errors of a group's layers on held-out inputs. */
async function heldErrors(
  w: Written,
  held: Statistics | null,
  ctx: PassContext,
): Promise<(LayerError | null)[]> {
  const { first, seconds, corrections } = w.factors;
  const out: (LayerError | null)[] = [];
  for (const [i, site] of w.group.sites.entries()) {
    if (held === null) {
      out.push(null);
      continue;
    }
    const layer = {
      name: site.layer.node.name,
      outAxis: site.form === "KN" ? 1 : 0,
      before: site.layer.tensor,
      after: await standsFor(site, first, seconds[i]!, ctx.reader),
      shift: corrections[i] ?? null,
    };
    out.push(await heldOutError(layer, held, ctx.reader));
  }
  return out;
}

/** Decisions on the layers of a group. */
async function explain(
  w: Written,
  held: Statistics | null,
  o: FactorizeLinearOptions,
  ctx: PassContext,
): Promise<Decision[]> {
  const { group: g, rank, factors } = w;
  const figures = o.score ? await doubles(factors.figures, ctx) : null;
  const others = await heldErrors(w, o.score ? held : null, ctx);
  return g.sites.map((site, i) => {
    const [noise, signal] = figures === null ? [0, 0] : [figures[2 * i]!, figures[2 * i + 1]!];
    return {
      node: site.layer.node.name,
      kind: "applied",
      rule: `low-rank${g.statistics === null ? "-plain" : ""}${g.sites.length > 1 ? "-shared" : ""}`,
      from: `${site.rows}×${site.columns}`,
      to: `rank ${rank}`,
      bytesBefore: tensorBytes(site.layer.tensor),
      bytesAfter: w.bytes[i]!,
      ...(noise > 0 && {
        error: { metric: "sqnr-db", value: 10 * Math.log10(signal / noise), ...heldOutField([others[i]!]) },
      }),
    };
  });
}

export const factorizeLinear = definePass<FactorizeLinearOptions>({
  name: PASS,
  family: "factorize",
  summary: "Writes linear layers and convolutions as two smaller ones",
  doc: `A weight W becomes left · right of a lower rank: a product with few outputs, then one that widens them again. Of
all matrices of a rank the pair is the one whose output differs least on the inputs the layer sees along sampled
trajectories: SVD_r(W·S)·S⁻¹ with S·Sᵀ the Gram matrix of the inputs (SVD-LLM, arXiv:2403.07378). Convolutions of k×k
become k×k with fewer outputs and 1×1; their Gram matrix is that of their patches, or of their channels where patches
are longer than 4096. A bias stays where it was, and takes up the mean of the error when nothing else reads it. The
report's figure is the SQNR of the layer's output as predicted from the Gram matrix.

Layers that read the same input (queries, keys and values; modulations of all blocks) share the first factor with
\`merge\`: at equal operations the rank is higher.

\`budget: { keep }\` is a share of the operations of all selected layers. Ranks come from a multiple-choice knapsack over
predicted errors, scaled by how much an error of each layer does to the network's output: measured on recorded calls of
the original's trajectory with \`measure\`, each layer alone at its middle rank.

A layer is left alone where the factors take no fewer operations or, by the target's cost model, no less time; where its
weight is read by others; where its inputs are in groups or transposed. Guards leave the first and last layer, the time
embedding, changes of resolution and shortcuts. Models that cannot be sampled are factored by the plain SVD, and the
report says so.`,
  effect: "lossy",
  minSqnrDb: 3,
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      ...FACTORIZE_PROPERTIES,
      merge: {
        type: "boolean",
        default: true,
        description: "Layers that read the same input share the first factor.",
      },
      kernels: {
        type: "boolean",
        default: true,
        description: "Also convolutions with more than one tap.",
      },
    },
  },
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
    const groups = groupSites(sites, o.merge).map((g) =>
      plannedGroup({ sites: g as [Site, ...Site[]], statistics: null }, lengths, o.budget, stepOf(ctx)),
    );
    return [...previewFactors(groups, lengths, o.budget, ctx), ...left.lines("layer")];
  },
  version: 1,
  async run(graph, o, ctx) {
    const groups = groupsOf(graph, o, ctx);
    if (groups.length === 0) return;
    decideWeighting(groups.filter((g) => g.statistics === null).map(nameOf), o, ctx);
    const lengths = lengthsOf(ctx);
    decideLengths(lengths, ctx);
    const ranks = await ranksOf(groups, lengths, o, ctx);
    const patch = new PatchBuilder(graph, PASS);
    const written: Written[] = [];
    for (const [i, group] of groups.entries()) {
      const rank = ranks[i];
      if (rank === null || rank === undefined) continue;
      const why = obstacle(ctx.target, originalWork(group, lengths), lowRankWork(group, lengths, rank));
      if (why !== null) {
        ctx.decide({ node: nameOf(group), kind: "skipped", rule: "no-gain", why, to: `rank ${rank}` });
        continue;
      }
      const factors = factorsOf(group, rank);
      written.push({ group, rank, factors, bytes: writeFactors(graph, patch, group, factors) });
    }
    const sites = o.score ? written.flatMap((w) => [...w.group.sites]) : [];
    const held = await heldOutInputs(
      sites.map((s) => inputRequest(graph, s, ctx)),
      ctx,
    );
    patch.apply();
    const lines = await Promise.all(written.map((w) => explain(w, held, o, ctx)));
    for (const d of lines.flat()) ctx.decide(d);
  },
});
