import { type AttentionMatch, matchAttention } from "../../ir/pattern/attention.ts";
import type { MatchScope } from "../../ir/pattern/constant.ts";
import { escapes } from "../../ir/pattern/match.ts";
import { dataUsers } from "../../ir/pattern/norm.ts";
import { definePass } from "../pass.ts";
import { type AttentionWriting, headsApart, onHeads, onSplitTokens, onTokens } from "./attention-forms.ts";
import { fuseMatches, importContrib } from "./driver.ts";

/** Options of `fuse-attention`. */
export interface FuseAttentionOptions {
  readonly spelling: AttentionWriting["operator"];
  /** Form of queries, keys and values: [batch, tokens, heads·width], or [batch, heads, tokens, width]. */
  readonly inputs: "tokens" | "heads";
}

/** The nodes of a match that one operator replaces: all from the split of heads on, or the products alone. */
function replaced(scope: MatchScope, m: AttentionMatch, inputs: FuseAttentionOptions["inputs"]) {
  if (inputs === "tokens" || !headsApart(scope, m))
    return { nodes: m.nodes, escapes: m.escapes, output: m.merged ?? m.output, match: m };
  const core = m.core.map((id) => scope.graph.node(id));
  // Lengths read off the scores hang on nodes that stay until nothing needs them.
  const read = escapes(scope, core, m.output).filter((e) =>
    dataUsers(scope, e).some((u) => !m.core.includes(u.id)),
  );
  return { nodes: m.core, escapes: read, output: m.output, match: m };
}

export const fuseAttention = definePass<FuseAttentionOptions>({
  name: "fuse-attention",
  family: "fuse",
  summary: "Replaces written-out attention by MultiHeadAttention or the standard Attention",
  doc: `From the projections to the joined heads: splitting, transposing, scaling, softmax and joining become one node
that reads [batch, tokens, heads·width] and never stores the score matrix of all heads at once. The scale is always
written out. An additive mask is passed on when it has the full shape, and dropped when it is known to be zero (exporters
write such a one). Self and cross attention alike. Left alone, with the reason: projections cut out of one merged
product, unusual head orders, masks chosen by a condition.

Importers that know the standard operator with four axes only get it behind the split of heads (\`inputs: heads\`); where
heads have an axis of their own already, how they are split and joined stays as it is, and merged projections are no
obstacle.`,
  effect: "exact",
  options: {
    type: "object",
    additionalProperties: false,
    properties: {
      spelling: {
        enum: ["com.microsoft.MultiHeadAttention", "Attention"],
        default: "Attention",
        description: "Operator to write; the standard one needs opset 23.",
      },
      inputs: {
        enum: ["tokens", "heads"],
        default: "tokens",
        description:
          "Form of what the standard operator reads: [batch, tokens, heads·width], or [batch, heads, tokens, width].",
      },
    },
  },
  version: 2,
  run(graph, { spelling, inputs: form }, ctx) {
    const contrib = spelling !== "Attention";
    // The contributed operator splits heads itself.
    const inputs = contrib ? "tokens" : form;
    const opset = ctx.model.opsets.get("") ?? 1;
    const count = fuseMatches(
      graph,
      ctx,
      `fuse-attention/${spelling}`,
      (scope, node) => {
        if (node.op !== "MatMul" || node.domain !== "") return null;
        const found = matchAttention(scope, node);
        return found.ok ? { ok: true, value: replaced(scope, found.value, inputs) } : found;
      },
      (patch, { match: m }, node, scope) => {
        if (!contrib && opset < 23) return { why: `Attention needs opset 23, the model has ${opset}` };
        const dtypes = [m.q.source, m.k.source, m.v.source, m.output].map((id) => scope.shapes?.dtype(id));
        if (new Set(dtypes).size !== 1) return { why: "its inputs and output have different element types" };
        const { scale } = m;
        if (scale === null) return { why: "head count or scale is not known" };
        const writing: AttentionWriting = { patch, name: node.name, operator: spelling, scale };
        const apart = inputs === "heads" && headsApart(scope, m);
        const write = inputs === "tokens" ? onTokens : apart ? onHeads : onSplitTokens;
        const made = write(scope, m, writing);
        if ("why" in made) return made;
        const mask = made.mask === null ? [] : contrib ? [null, null, made.mask] : [made.mask];
        const [y] = patch.node({
          op: contrib ? "MultiHeadAttention" : "Attention",
          domain: contrib ? "com.microsoft" : "",
          name: node.name,
          inputs: [...made.qkv, ...mask],
          attrs: made.attrs,
        });
        return made.join(y);
      },
    );
    if (count > 0 && contrib) importContrib(ctx.model);
  },
});
