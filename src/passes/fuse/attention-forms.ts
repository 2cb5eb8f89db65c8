import { type Attr, floatAttr, intAttr, intsAttr, type Node, type ValueId } from "../../ir/graph.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import type { AttentionInput, AttentionMatch } from "../../ir/pattern/attention.ts";
import { permOf } from "../../ir/pattern/checks.ts";
import type { MatchScope } from "../../ir/pattern/constant.ts";
import { i64Tensor } from "../../ir/tensor.ts";
import type { Dim } from "../../ir/types.ts";

/** Lengths that the scores of an attention have. */
interface Scores {
  readonly batch: Dim | undefined;
  readonly heads: Dim | undefined;
  readonly queries: Dim | undefined;
  readonly keys: Dim | undefined;
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
  { batch, heads, queries, keys }: Scores,
): { mask: ValueId | null } | { why: string } {
  const real = m.masks.filter((x) => !x.zero);
  if (real.length === 0) return { mask: null };
  if (real.length > 1 || real[0]!.kind !== "add") return { why: "its mask is not a single addition" };
  const mask = real[0]!.value;
  const shape = scope.shapes?.shape(mask);
  const fits =
    shape?.length === 4 &&
    (shape[0] === 1 || shape[0] === batch) &&
    (shape[1] === 1 || shape[1] === heads) &&
    shape[2] === queries &&
    shape[3] === keys;
  return fits ? { mask } : { why: "its mask is not [batch, heads, queries, keys]" };
}

/** What an operator in the place of a match reads and says. */
interface Fused {
  readonly qkv: readonly [ValueId, ValueId, ValueId];
  readonly mask: ValueId | null;
  readonly attrs: Readonly<Record<string, Attr>>;
  /** From the operator's result to what takes the place of the match's output. */
  readonly join: (y: ValueId) => ValueId;
}

/** How an attention is written: where, and the number its scores are scaled by. */
export interface AttentionWriting {
  readonly patch: PatchBuilder;
  readonly name: string;
  readonly scale: number;
  readonly operator: "com.microsoft.MultiHeadAttention" | "Attention";
}

/** Queries, keys and values as they are before heads are split: [batch, tokens, heads·width]. */
export function onTokens(
  scope: MatchScope,
  m: AttentionMatch,
  { operator, scale }: Pick<AttentionWriting, "operator" | "scale">,
): Fused | { why: string } {
  const { heads } = m;
  if (heads === null) return { why: "head count or scale is not known" };
  const why =
    notSplit(scope, m.q, heads, false) ??
    notSplit(scope, m.k, heads, m.kTransposed) ??
    notSplit(scope, m.v, heads, false) ??
    notJoined(scope, m, heads);
  if (why !== null) return { why };
  const [q, k] = [scope.shapes?.shape(m.q.source), scope.shapes?.shape(m.k.source)];
  const mask = maskOf(scope, m, { batch: q?.[0], heads, queries: q?.[1], keys: k?.[1] });
  if ("why" in mask) return mask;
  const count = intAttr(heads);
  const attrs: Record<string, Attr> =
    operator === "Attention" ? { q_num_heads: count, kv_num_heads: count } : { num_heads: count };
  return {
    qkv: [m.q.source, m.k.source, m.v.source],
    mask: mask.mask,
    attrs: { scale: floatAttr(scale), ...attrs },
    join: (y) => y,
  };
}

/** Whether queries, keys and values enter the products as [batch, heads, tokens, width]. */
export function headsApart(scope: MatchScope, m: AttentionMatch): boolean {
  return [m.q, m.k, m.v].every((x) => scope.shapes?.shape(x.value)?.length === 4);
}

/** What {@link onTokens} finds, with heads split and joined around the operator. */
export function onSplitTokens(
  scope: MatchScope,
  m: AttentionMatch,
  { patch, name, operator, scale }: AttentionWriting,
): Fused | { why: string } {
  const made = onTokens(scope, m, { operator, scale });
  if ("why" in made) return made;
  const reshape = (x: ValueId, dims: readonly number[], part: string): ValueId => {
    const shape = patch.constant(i64Tensor(dims), `${name}/${part}.shape`);
    return patch.node({ op: "Reshape", name: `${name}/${part}`, inputs: [x, shape] })[0];
  };
  const swap = (x: ValueId, part: string): ValueId => {
    const attrs = { perm: intsAttr([0, 2, 1, 3]) };
    return patch.node({ op: "Transpose", name: `${name}/${part}`, inputs: [x], attrs })[0];
  };
  const split = (x: ValueId, part: string): ValueId =>
    swap(reshape(x, [0, 0, m.heads!, -1], `${part}.split`), `${part}.heads`);
  const [q, k, v] = made.qkv;
  return {
    qkv: [split(q, "query"), split(k, "key"), split(v, "value")],
    mask: made.mask,
    attrs: { scale: floatAttr(scale) },
    join: (y) => reshape(swap(y, "tokens"), [0, 0, -1], "joined"),
  };
}

/** Queries, keys and values as they enter the products; keys that lie [batch, heads, width, tokens] are turned. */
export function onHeads(
  scope: MatchScope,
  m: AttentionMatch,
  { patch, name, scale }: AttentionWriting,
): Fused | { why: string } {
  const [q, k, v] = [m.q, m.k, m.v].map((x) => scope.shapes?.shape(x.value));
  if (q?.length !== 4 || k?.length !== 4 || v?.length !== 4)
    return { why: "its queries, keys and values are not [batch, heads, tokens, width]" };
  const [batch, heads, queries] = q;
  const same = [k, v].every((s) => s[0] === batch && s[1] === heads);
  const [keys, width] = m.kTransposed ? [k[3], k[2]] : [k[2], k[3]];
  if (!same || v[2] !== keys || q[3] !== width)
    return { why: "its queries, keys and values differ in batch, heads or lengths" };
  const mask = maskOf(scope, m, { batch, heads, queries, keys });
  if ("why" in mask) return mask;
  const turned = (): ValueId =>
    patch.node({
      op: "Transpose",
      name: `${name}/keys`,
      inputs: [m.k.value],
      attrs: { perm: intsAttr([0, 1, 3, 2]) },
    })[0];
  return {
    qkv: [m.q.value, m.kTransposed ? turned() : m.k.value, m.v.value],
    mask: mask.mask,
    attrs: { scale: floatAttr(scale) },
    join: (y) => y,
  };
}
