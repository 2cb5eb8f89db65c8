import { callWeights } from "../../calibrate/switchboard.ts";
import { cloneModel } from "../../ir/clone.ts";
import { graphCost } from "../../ir/cost.ts";
import type { Graph, Model, NodeId, ValueId } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { f32Tensor } from "../../ir/tensor.ts";
import { removeDead } from "../clean/remove-dead.ts";
import { definePass, type PassContext } from "../pass.ts";
import { type Branch, residualBranches } from "./branches.ts";
import { lengthsOf } from "./flops.ts";
import { previewBlocks } from "./preview-blocks.ts";

/** Options of `prune-blocks`. */
export interface PruneBlocksOptions {
  ratio: number;
  stub: "mean" | "none";
  calls: number;
}

/** Mean of what a branch adds, per channel and weighted over calls; `null` when it was not observed. */
function meanOf(b: Branch, ctx: PassContext): Float32Array | null {
  const found = ctx.statistics?.value(ctx.model.graph.value(b.branch).name);
  if (found === undefined || ctx.statistics === null) return null;
  const calls = ctx.statistics.calls.length;
  return Float32Array.from({ length: found.channels }, (_, c) => {
    let sum = 0;
    for (let i = 0; i < calls; i++) sum += found.mean[i * found.channels + c]! / calls;
    return sum;
  });
}

/** Replaces what a branch adds by its mean, or by nothing. */
function without(graph: Graph, b: Branch, mean: Float32Array | null): void {
  const patch = new PatchBuilder(graph, "prune-blocks");
  const [out] = b.node.outputs;
  if (mean === null) patch.redirect(out!, b.stream).remove(b.node.id);
  else {
    const shape = b.axis === 1 ? [mean.length, 1, 1] : [mean.length];
    const shift = patch.constant(f32Tensor(mean, shape), `${b.node.name}_mean`);
    patch.replace(b.node, { inputs: [b.stream, shift] });
  }
  patch.apply();
}

interface Priced {
  readonly branch: Branch;
  readonly mean: Float32Array | null;
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
  for (const branch of residualBranches(ctx.model.graph, ctx.shapes())) {
    const mean = o.stub === "mean" ? meanOf(branch, ctx) : null;
    const copy: Model = cloneModel(ctx.model);
    without(copy.graph, branch, mean);
    const { signal, noise } = await oracle.errors(copy, calls);
    const harm = noise.reduce(
      (sum, e, i) => sum + (weights[i]! * e) / Math.max(signal[i]!, Number.MIN_VALUE),
      0,
    );
    out.push({
      branch,
      mean,
      harm,
      flops: branch.inner.reduce((s, id) => s + (flops.get(id)?.flops ?? 0), 0),
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
compared with the original's; those with the least error per saved FLOP go until the ratio is met. With \`stub: mean\`
the mean of what a branch added, per channel along the trajectory, stays in its place. Blocks that change the width of
their stream stay, and so do those that something else reads from, be it a shape. Without samples nothing is removed. Errors of single branches do not add up once many are gone:
more than a tenth of the FLOPs is rarely worth it without training.`,
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
        enum: ["mean", "none"],
        default: "mean",
        description: "What stays in place of a branch: the mean of what it added per channel, or nothing.",
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
  version: 1,
  wantsStatistics(graph, o, ctx) {
    if (o.stub === "none") return null;
    const values = residualBranches(graph, ctx.shapes()).map((b) => ({
      name: graph.value(b.branch).name,
      axis: b.axis,
      rows: 0,
    }));
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
    const all = await price(o, cost.nodes, ctx);
    all.sort((a, b) => a.harm / a.flops - b.harm / b.flops || a.branch.node.id - b.branch.node.id);
    let left = cost.flops * o.ratio;
    const gone = new Set<NodeId>();
    const instead = new Map<ValueId, ValueId>();
    for (const { branch, mean, harm } of all) {
      // Part of a branch that is gone.
      if (gone.has(branch.node.id)) continue;
      const inner = branch.inner.filter((id) => !gone.has(id));
      const flops = inner.reduce((sum, id) => sum + (cost.nodes.get(id)?.flops ?? 0), 0);
      const goes = flops <= left;
      if (goes) {
        left -= flops;
        for (const id of inner) gone.add(id);
        let { stream } = branch;
        for (let next = instead.get(stream); next !== undefined; next = instead.get(stream)) stream = next;
        without(graph, { ...branch, stream }, mean);
        if (mean === null) instead.set(branch.node.outputs[0]!, stream);
      }
      ctx.decide({
        node: branch.node.name,
        kind: goes ? "applied" : "skipped",
        rule: mean === null ? "drop-branch" : "branch-mean",
        ...(!goes && { why: "others cost the output less per saved operation" }),
        error: { metric: "sqnr-db", value: decibels(o.calls, harm) },
      });
    }
    await removeDead.run(graph, {}, { ...ctx, decide: () => {} });
  },
});
