import { callWeights } from "../../calibrate/switchboard.ts";
import { cloneModel } from "../../ir/clone.ts";
import { graphCost } from "../../ir/cost.ts";
import type { Model, NodeId, ValueId } from "../../ir/graph.ts";
import { removeDead } from "../clean/remove-dead.ts";
import { definePass, type PassContext } from "../pass.ts";
import { type Branch, residualBranches } from "./branches.ts";
import { lengthsOf } from "./cost.ts";
import { previewBlocks } from "./preview-blocks.ts";
import {
  putStub,
  type Stub,
  type StubKind,
  type StubSources,
  stubCrossings,
  stubFlops,
  stubOf,
  stubValues,
} from "./stub.ts";

/** Options of `prune-blocks`. */
export interface PruneBlocksOptions {
  ratio: number;
  stub: StubKind;
  rank: number;
  calls: number;
}

interface Priced {
  readonly branch: Branch;
  readonly stub: Stub;
  /** FLOPs that go with the whole branch, less what its stub takes. */
  readonly flops: number;
  /** Σ error / signal over calls. */
  readonly harm: number;
}

/** SQNR of an error that is relative and summed over calls. */
const decibels = (calls: number, harm: number): number =>
  Number((10 * Math.log10(calls / Math.max(harm, Number.MIN_VALUE))).toFixed(2));

/** What removing each branch alone does to the network's output, and saves. */
async function price(
  o: PruneBlocksOptions,
  flops: ReadonlyMap<NodeId, { readonly flops: number }>,
  ctx: PassContext,
): Promise<Priced[]> {
  const oracle = ctx.oracle!;
  const n = oracle.calls.length;
  const calls = [
    ...new Set(
      Array.from({ length: o.calls }, (_, i) => Math.round((i * (n - 1)) / Math.max(1, o.calls - 1))),
    ),
  ];
  const weights = callWeights(calls.map((i) => oracle.calls[i]!));
  const out: Priced[] = [];
  const { graph } = ctx.model;
  const branches = residualBranches(graph, ctx.shapes());
  const sources: StubSources = {
    statistics: ctx.statistics,
    crossed:
      o.stub === "low-rank" && ctx.statistics !== null
        ? await ctx.collectCross(stubCrossings(graph, branches, ctx.statistics), ctx.model)
        : null,
  };
  for (const branch of branches) {
    const stub = stubOf(graph, branch, o, sources);
    const copy: Model = cloneModel(ctx.model);
    putStub(copy.graph, branch, stub);
    const { signal, noise } = await oracle.errors(copy, calls);
    const harm = noise.reduce(
      (sum, e, i) => sum + (weights[i]! * e) / Math.max(signal[i]!, Number.MIN_VALUE),
      0,
    );
    out.push({
      branch,
      stub,
      harm,
      flops:
        branch.inner.reduce((s, id) => s + (flops.get(id)?.flops ?? 0), 0) -
        stubFlops(stub, flops.get(branch.node.id)?.flops ?? 0),
    });
  }
  return out;
}

export const pruneBlocks = definePass<PruneBlocksOptions>({
  name: "prune-blocks",
  family: "prune",
  summary: "Removes whole residual branches, those that matter least to the output for what they cost",
  doc: `A residual branch is what an addition adds to the value it was computed from: the inside of a residual block, an
attention, a feed-forward. Each is left out once, on its own, and the network's output along sampled trajectories is
compared with the original's; those with the least error per saved FLOP go until the ratio is met, what the stub takes
counted. Blocks that change the width of their stream stay, and so do those that something else reads from, be it a shape.
Without samples nothing is removed. Errors of single branches do not add up once many are gone: more than a tenth of the
FLOPs is rarely worth it without training.

A \`stub\` stays in the place of a branch: the affine map of its input that comes closest to what it added along the
trajectory, in closed form. \`low-rank\` is the best map of \`rank\` (two small layers), \`affine\` a factor and an offset per
channel, \`mean\` the offset alone. Errors count relative to what the branch adds at each step, so that branches which are
silent at some steps are not heard at them. With one branch out at a time, over the branches of the bundled transformer,
nothing in its place leaves 26.4 dB of the output (mean over branches and steps), the mean 26.8, affine stubs 27.3 and maps of
rank 16 32.3; on six branches of the U-Net it is 35.4, 36.9, 37.1 and 38.0.`,
  effect: "lossy",
  minSqnrDb: 0,
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      ratio: {
        type: "number",
        minimum: 0,
        maximum: 0.9,
        default: 0.05,
        description: "Share of the graph's FLOPs to take away; the last branch that would exceed it stays.",
      },
      stub: {
        enum: ["low-rank", "affine", "mean", "none"],
        default: "low-rank",
        description:
          "What stays in place of a branch: a map of its input of `rank`, a factor and an offset per channel, the mean of what it added per channel, or nothing.",
      },
      rank: {
        type: "integer",
        minimum: 1,
        maximum: 256,
        default: 16,
        description: "Rank of the maps that `stub: low-rank` puts in place of branches.",
      },
      calls: {
        type: "integer",
        minimum: 1,
        maximum: 64,
        default: 4,
        description: "Steps of the trajectory on which every branch is left out once.",
      },
    },
  },
  version: 2,
  wantsStatistics(graph, o, ctx) {
    const values = stubValues(graph, residualBranches(graph, ctx.shapes()), o.stub);
    return values.length === 0 ? null : { values, grams: [] };
  },
  wantsOracle: () => true,
  preview: (_graph, o, ctx) => previewBlocks(o.ratio, ctx),
  async run(graph, o, ctx) {
    if (ctx.oracle === null) {
      ctx.decide({
        node: "",
        kind: "skipped",
        rule: "prune-blocks",
        why: "the model could not be sampled, so nothing is known of what its blocks do",
      });
      return;
    }
    const { lengths } = lengthsOf(ctx, {});
    const cost = graphCost(ctx.model, { shapes: ctx.shapes(), bindings: lengths });
    const priced = await price(o, cost.nodes, ctx);
    // A branch that takes less than its stub stays.
    const all = priced.filter((p) => p.flops > 0);
    all.sort((a, b) => a.harm / a.flops - b.harm / b.flops || a.branch.node.id - b.branch.node.id);
    let left = cost.flops * o.ratio;
    const gone = new Set<NodeId>();
    const instead = new Map<ValueId, ValueId>();
    for (const { branch, stub, harm } of all) {
      // Part of a branch that is gone.
      if (gone.has(branch.node.id)) continue;
      const inner = branch.inner.filter((id) => !gone.has(id));
      const flops =
        inner.reduce((sum, id) => sum + (cost.nodes.get(id)?.flops ?? 0), 0) -
        stubFlops(stub, cost.nodes.get(branch.node.id)?.flops ?? 0);
      const goes = flops <= left;
      if (goes) {
        left -= flops;
        for (const id of inner) gone.add(id);
        let { stream } = branch;
        for (let next = instead.get(stream); next !== undefined; next = instead.get(stream)) stream = next;
        putStub(graph, { ...branch, stream }, stub);
        if (stub.kind === "none") instead.set(branch.node.outputs[0]!, stream);
      }
      const lesser = stub.kind !== o.stub;
      ctx.decide({
        node: branch.node.name,
        kind: !goes ? "skipped" : lesser ? "downgraded" : "applied",
        rule: stub.kind === "none" ? "drop-branch" : `branch-${stub.kind}`,
        ...(!goes && { why: "others cost the output less per saved operation" }),
        ...(goes && lesser && { why: `what a stub of ${o.stub} is fitted to was not observed` }),
        error: { metric: "sqnr-db", value: decibels(o.calls, harm) },
      });
    }
    await removeDead.run(graph, {}, { ...ctx, decide: () => {} });
  },
});
