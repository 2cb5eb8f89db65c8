import { type Attr, floatAttr, intAttr, type Node, type ValueId } from "../../ir/graph.ts";
import { type AttentionInput, type AttentionMatch, matchAttention } from "../../ir/pattern/attention.ts";
import { permOf } from "../../ir/pattern/checks.ts";
import type { MatchScope } from "../../ir/pattern/constant.ts";
import type { Dim } from "../../ir/types.ts";
import { definePass } from "../pass.ts";
import { fuseMatches, importContrib } from "./driver.ts";

export interface FuseAttentionOptions {
  readonly spelling: "com.microsoft.MultiHeadAttention" | "Attention";
}

/** Why the way from [batch, tokens, heads·d] to the product is not a plain head split; `null` when it is. */
function notSplit(scope: MatchScope, input: AttentionInput, heads: number, swapped: boolean): string | null {
  const shape = (id: ValueId | null | undefined): readonly Dim[] | null =>
    id === null || id === undefined ? null : (scope.shapes?.shape(id) ?? null);
  if (!input.direct) return "it is cut out of a merged projection";
  const source = shape(input.source);
  if (source?.length !== 3) return "its source is not [batch, tokens, width]";
  const steps = input.nodes.map((id) => scope.graph.node(id)).reverse();
  if (steps.length === 0) return heads === 1 && !swapped ? null : "its heads are not split";
  const width = source[2];
  let at = 0;
  const [split] = steps;
  const four = shape(split?.outputs[0]);
  if (split?.op !== "Reshape" || four?.length !== 4) return "its heads are not split by a Reshape";
  const d = four[3];
  if (four[0] !== source[0] || four[1] !== source[1] || four[2] !== heads)
    return "the Reshape does more than split heads";
  if (typeof width !== "number" || typeof d !== "number" || d * heads !== width)
    return "the head width is not known";
  at = 1;
  const move = steps[at];
  const perm = move?.op === "Transpose" ? permOf(scope, move) : null;
  const want = swapped ? "0,2,3,1" : "0,2,1,3";
  if (perm?.join() === want) at++;
  else if (heads !== 1 || swapped) return "the heads are not moved in front of the tokens";
  // Merging batch and heads keeps the order of elements; so does dropping a head axis of length 1.
  for (const rest of steps.slice(at)) {
    const three = shape(rest.outputs[0]);
    if (rest.op !== "Reshape" && rest.op !== "Squeeze") return `${rest.op} follows the head split`;
    if (three?.length !== 3 || three[2] !== (swapped ? source[1] : d))
      return "batch and heads are not merged as expected";
  }
  return null;
}

/** Why the nodes after the second product are not a plain join of heads; `null` when they are. */
function notJoined(scope: MatchScope, m: AttentionMatch, heads: number): string | null {
  if (m.merged === null) return "the heads are not joined again";
  let at = m.output;
  const path: Node[] = [];
  while (at !== m.merged) {
    const next = scope.graph
      .users(at)
      .map((u) => scope.graph.node(u))
      .find((n) => m.nodes.includes(n.id));
    const out = next?.outputs[0];
    if (next === undefined || out === null || out === undefined) return "the heads are not joined again";
    path.push(next);
    at = out;
  }
  const moves = path.filter((n) => n.op === "Transpose");
  const reshapes = path.filter((n) => n.op !== "Transpose");
  if (reshapes.some((n) => n.op !== "Reshape" && n.op !== "Squeeze" && n.op !== "Unsqueeze"))
    return "other operations lie between product and join";
  if (heads === 1 && moves.length === 0) return null;
  if (moves.length !== 1 || permOf(scope, moves[0]!)?.join() !== "0,2,1,3")
    return "the heads are joined in another order";
  const before = scope.shapes?.shape(moves[0]!.inputs[0]!);
  return before?.[1] === heads ? null : "the heads are joined in another order";
}

/** The one mask as [batch or 1, heads or 1, queries, keys], or why there is no such thing. */
function maskOf(
  scope: MatchScope,
  m: AttentionMatch,
  heads: number,
): { mask: ValueId | null } | { why: string } {
  const real = m.masks.filter((x) => !x.zero);
  if (real.length === 0) return { mask: null };
  if (real.length > 1 || real[0]!.kind !== "add") return { why: "its mask is not a single addition" };
  const mask = real[0]!.value;
  const shape = scope.shapes?.shape(mask);
  const q = scope.shapes?.shape(m.q.source);
  const k = scope.shapes?.shape(m.k.source);
  const fits =
    shape?.length === 4 &&
    (shape[0] === 1 || shape[0] === q?.[0]) &&
    (shape[1] === 1 || shape[1] === heads) &&
    shape[2] === q?.[1] &&
    shape[3] === k?.[1];
  return fits ? { mask } : { why: "its mask is not [batch, heads, queries, keys]" };
}

function attributes(
  spelling: FuseAttentionOptions["spelling"],
  heads: number,
  scale: number,
): Record<string, Attr> {
  const shared = { scale: floatAttr(scale) };
  if (spelling === "Attention")
    return { ...shared, q_num_heads: intAttr(heads), kv_num_heads: intAttr(heads) };
  return { ...shared, num_heads: intAttr(heads) };
}

export const fuseAttention = definePass<FuseAttentionOptions>({
  name: "fuse-attention",
  family: "fuse",
  summary: "Replaces written-out attention by MultiHeadAttention or the standard Attention",
  doc: `From the projections to the joined heads: splitting, transposing, scaling, softmax and joining become one node
that reads [batch, tokens, heads·width] and never stores the score matrix of all heads at once. The scale is always
written out. An additive mask is passed on when it has the full shape, and dropped when it is known to be zero (exporters
write such a one). Self and cross attention alike. Left alone, with the reason: projections cut out of one merged
product, unusual head orders, masks chosen by a condition.`,
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
    },
  },
  version: 1,
  run(graph, { spelling }, ctx) {
    const contrib = spelling !== "Attention";
    const opset = ctx.model.opsets.get("") ?? 1;
    const count = fuseMatches(
      graph,
      ctx,
      `fuse-attention/${spelling}`,
      (scope, node) => {
        if (node.op !== "MatMul" || node.domain !== "") return null;
        const found = matchAttention(scope, node);
        return found.ok
          ? {
              ok: true,
              value: { ...found.value, output: found.value.merged ?? node.outputs[0]!, match: found.value },
            }
          : found;
      },
      (patch, { match: m }, node, scope) => {
        if (!contrib && opset < 23) return { why: `Attention needs opset 23, the model has ${opset}` };
        const { heads, scale } = m;
        const dtypes = [m.q.source, m.k.source, m.v.source, m.output].map((id) => scope.shapes?.dtype(id));
        if (new Set(dtypes).size !== 1) return { why: "its inputs and output have different element types" };
        if (heads === null || scale === null) return { why: "head count or scale is not known" };
        const why =
          notSplit(scope, m.q, heads, false) ??
          notSplit(scope, m.k, heads, m.kTransposed) ??
          notSplit(scope, m.v, heads, false) ??
          notJoined(scope, m, heads);
        if (why !== null) return { why };
        const mask = maskOf(scope, m, heads);
        if ("why" in mask) return mask;
        const inputs: (ValueId | null)[] = [m.q.source, m.k.source, m.v.source];
        if (mask.mask !== null) inputs.push(...(contrib ? [null, null, mask.mask] : [mask.mask]));
        return patch.node({
          op: contrib ? "MultiHeadAttention" : "Attention",
          domain: contrib ? "com.microsoft" : "",
          name: node.name,
          inputs,
          attrs: attributes(spelling, heads, scale),
        })[0];
      },
    );
    if (count > 0 && contrib) importContrib(ctx.model);
  },
});
