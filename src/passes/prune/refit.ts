import type { CrossGram } from "../../calibrate/statistics/cross.ts";
import type { Statistics } from "../../calibrate/statistics/types.ts";
import type { PruneAnalysis } from "../../ir/anatomy/groups/index.ts";
import { cloneModel } from "../../ir/clone.ts";
import type { Model } from "../../ir/graph.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { errorAcross, signalAcross } from "../../numeric/prune/across.ts";
import type { LayerError } from "../../numeric/quantize/error.ts";
import { refitError } from "../../numeric/refit-error.ts";
import { momentsOf } from "../held-out.ts";
import type { PassContext } from "../pass.ts";
import { removeUnits } from "./apply.ts";
import type { Cut } from "./levels.ts";
import type { PruneOptions } from "./options.ts";
import {
  type AcrossReaders,
  acrossMoments,
  acrossReaders,
  crossRequests,
  type Original,
  packagesOf,
} from "./prefix.ts";
import type { GroupReader } from "./readers.ts";
import { repaired, repairOf } from "./repair.ts";

/** What is to go in a round, and from what. */
export interface Going {
  readonly analysis: PruneAnalysis;
  readonly cuts: readonly Cut[];
  /** Units of each cut. */
  readonly counts: readonly number[];
  readonly original: Original;
  /** Whether the model differs from the original before anything of this round goes. */
  readonly compressed: boolean;
}

/** Errors of one reader's output. */
export interface ReaderError {
  readonly predicted: LayerError;
  /** On held-out inputs; `null` where there are none. */
  readonly heldOut: LayerError | null;
}

/** Constants in place of others, and what that costs the readers of each cut. */
export interface Refitted {
  readonly overrides: Map<string, Tensor>;
  readonly errors: ReadonlyMap<Cut, readonly ReaderError[]>;
}

/** Inputs of a package's readers in the model and, behind a compressed prefix, in the original as well. */
interface Seen {
  readonly statistics: Statistics | null;
  readonly crossed: ReadonlyMap<string, CrossGram> | null;
}

function errorOf(
  r: GroupReader,
  at: { readonly cut: Cut; readonly count: number },
  o: PruneOptions,
  use: { readonly across: AcrossReaders; readonly held: Seen },
): ReaderError {
  const found = repairOf(r, at, o, use.across);
  const { name } = r.layer.node;
  const behind = use.across.get(r.consumer.node);
  if (behind === undefined || !o.repair) {
    const moments = use.held.statistics === null ? undefined : momentsOf(use.held.statistics, name);
    const { weights: before, rows, size: columns, gram } = r.reader;
    const shift = o.repair ? found.correction : null;
    const refit = { before, after: found.weights, rows, columns, shift };
    const heldOut = moments?.size === columns ? refitError(refit, moments) : null;
    if (o.repair) return { predicted: { noise: found.noise, signal: r.signal }, heldOut };
    // Without a repair the bias stays too.
    return {
      predicted: refitError(refit, { gram, mean: new Float64Array(columns), size: columns })!,
      heldOut,
    };
  }
  const reader = behind.reader;
  const c = use.held.crossed?.get(name);
  const fits = c?.original !== undefined && c.size === reader.size && c.originalMean.length === reader.width;
  const theirs = fits ? { ...reader, moments: acrossMoments(c) } : null;
  return {
    predicted: { noise: found.noise, signal: signalAcross(reader) },
    heldOut:
      theirs === null
        ? null
        : { noise: errorAcross(theirs, found.weights, found.correction), signal: signalAcross(theirs) },
  };
}

/** Held-out inputs of the readers of some cuts. */
async function heldInputs(
  cuts: readonly Cut[],
  across: { readonly original: Model; readonly prefix: Model } | null,
  ctx: PassContext,
): Promise<Seen> {
  const held = ctx.heldOut ?? null;
  const grams = crossRequests(ctx.model.graph, ctx.shapes(), cuts);
  if (held === null || grams.length === 0) return { statistics: null, crossed: null };
  if (across === null) return { statistics: await held.collect({ values: [], grams }), crossed: null };
  return { statistics: null, crossed: await held.collectCross(grams, across.original, across.prefix) };
}

/**
 * Refits what reads the units that go, package after package in the order layers run: readers of a later package see what
 * the earlier ones have become, and aim at the original's outputs. The first package of an untouched model has nothing
 * before it and is fitted to the statistics the pass started with.
 */
export async function refit(going: Going, o: PruneOptions, ctx: PassContext): Promise<Refitted> {
  const { analysis, cuts, counts, original, compressed } = going;
  const { graph } = ctx.model;
  const chosen = cuts.filter((c, i) => counts[i]! > 0 && c.readers !== null);
  const countOf = new Map(cuts.map((c, i) => [c, counts[i]!]));
  const overrides = new Map<string, Tensor>();
  const errors = new Map<Cut, ReaderError[]>();
  const sequential = o.repair && o.packages > 1;
  const gone: number[] = [];
  let blind = 0;
  for (const cutsHere of sequential ? packagesOf(graph, chosen, o.packages) : [chosen]) {
    let across: AcrossReaders = new Map();
    let models: { readonly original: Model; readonly prefix: Model } | null = null;
    if (sequential && (compressed || gone.length > 0)) {
      const prefix = cloneModel(ctx.model);
      removeUnits(prefix, analysis, new Set(gone), overrides);
      models = { original: original.model, prefix };
      const requests = crossRequests(graph, ctx.shapes(), cutsHere);
      const crossed = await ctx.collectCross(requests, models.original, prefix);
      if (crossed !== null) across = await acrossReaders(cutsHere, crossed, original, ctx.reader);
      blind += cutsHere.flatMap((c) => c.readers!).filter((r) => !across.has(r.consumer.node)).length;
    }
    const held = await heldInputs(cutsHere, across.size === 0 ? null : models, ctx);
    const here = cutsHere.map((c) => countOf.get(c)!);
    for (const [i, cut] of cutsHere.entries()) {
      const at = { cut, count: here[i]! };
      errors.set(
        cut,
        cut.readers!.map((r) => errorOf(r, at, o, { across, held })),
      );
      gone.push(...cut.order.slice(0, here[i]!).map((u) => cut.group.units[u]!));
    }
    for (const [key, tensor] of repaired(cutsHere, here, o, { graph, across })) overrides.set(key, tensor);
  }
  if (blind > 0)
    ctx.decide({
      node: "",
      kind: "downgraded",
      rule: "compressed-prefix",
      why: "their inputs could not be compared with the original's, or they have other outputs by now",
      from: "refitted to the original's outputs behind the layers cut before",
      to: "refitted to their own outputs before the cut",
      count: blind,
    });
  return { overrides, errors };
}
