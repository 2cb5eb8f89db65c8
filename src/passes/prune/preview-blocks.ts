import { graphCost } from "../../ir/cost.ts";
import type { ValueId } from "../../ir/graph.ts";
import { tensorBytes } from "../../ir/tensor.ts";
import { modelBytes } from "../../ir/weights.ts";
import type { PreviewContext, PreviewLine } from "../pass.ts";
import { assumedText, mega } from "../preview-text.ts";
import { type Branch, residualBranches } from "./branches.ts";
import { lengthsOf } from "./cost.ts";

/** Bytes of constants that only a branch reads. */
function branchBytes({ inner }: Branch, { model: { graph } }: PreviewContext): number {
  const own = new Set(inner);
  const seen = new Set<ValueId>();
  let bytes = 0;
  for (const id of inner)
    for (const i of graph.node(id).inputs) {
      const tensor = i === null ? null : graph.constant(i);
      if (i === null || tensor === null || seen.has(i)) continue;
      seen.add(i);
      if (graph.users(i).every((u) => own.has(u))) bytes += tensorBytes(tensor);
    }
  return bytes;
}

/** Residual branches with what leaving each out would save, most operations first. */
export function previewBlocks(ratio: number, ctx: PreviewContext): PreviewLine[] {
  const { graph } = ctx.model;
  const { lengths, assumed } = lengthsOf({ model: ctx.model, oracle: null }, {});
  const { nodes, flops } = graphCost(ctx.model, { shapes: ctx.shapes(), bindings: lengths });
  const all = residualBranches(graph, ctx.shapes())
    .map((b) => ({
      branch: b,
      flops: b.inner.reduce((n, id) => n + (nodes.get(id)?.flops ?? 0), 0),
      bytes: branchBytes(b, ctx),
    }))
    .sort((a, b) => b.flops - a.flops || a.branch.node.id - b.branch.node.id);
  return [
    {
      subject: "",
      what:
        `${all.length} residual branch${all.length === 1 ? "" : "es"}; ${mega(flops)} and ${modelBytes(ctx.model)} bytes before, at most ${mega(flops * ratio)} to take away` +
        assumedText(assumed, lengths),
    },
    ...all.map(({ branch, flops: saved, bytes }) => ({
      subject: branch.node.name,
      what:
        `${branch.inner.length} nodes, ${mega(saved)} (${((100 * saved) / flops).toFixed(2)} %), ${bytes} bytes` +
        (saved > flops * ratio ? "; more than the budget takes away" : ""),
    })),
  ];
}
