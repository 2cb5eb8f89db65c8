import type { Attr, ValueId } from "../../ir/graph.ts";
import { isPackedAttention } from "./attention.ts";
import type { Emit, Lowering } from "./emit.ts";

const FOUR = 4;

/** Attributes of a node but some. */
function attrsBut(e: Emit, left: readonly string[]): Record<string, Attr> {
  return Object.fromEntries([...e.node.attrs].filter(([name]) => !left.includes(name)));
}

/** A mask with axes of length 1 in front until there are four; `null` when its rank is unknown. */
function fourAxes(e: Emit, mask: ValueId): ValueId | null {
  const rank = e.shape(3)?.length;
  if (rank === undefined || rank > FOUR) return null;
  return rank === FOUR
    ? mask
    : e.unsqueeze(
        mask,
        Array.from({ length: FOUR - rank }, (_, i) => i),
      );
}

/**
 * The standard Attention with heads and mask on four axes, for targets whose importer takes no other form. Left alone
 * elsewhere and where it has that form.
 */
export const attentionOnHeads: Lowering = (e) => {
  if (e.target?.limits.importer?.attentionRank !== FOUR) return null;
  const [q, k, v, mask] = [e.input(0), e.input(1), e.input(2), e.input(3)];
  const rank = e.shape(0)?.length;
  if (rank === FOUR && (mask === null || e.shape(3)?.length === FOUR)) return null;
  if (q === null || k === null || v === null || rank === undefined)
    return { why: "the rank of its inputs is unknown" };
  const more = e.node.inputs.some((id, i) => i > 3 && id !== null);
  if (more || e.node.outputs.slice(1).some((o) => o !== null))
    return { why: "it has a past, or its present key and value or its scores are named" };
  const wide = mask === null ? null : fourAxes(e, mask);
  if (mask !== null && wide === null) return { why: "the rank of its mask is unknown" };
  const masks = wide === null ? [] : [wide];
  if (rank === FOUR) return e.op("Attention", [q, k, v, ...masks], attrsBut(e, []));
  const split = (x: ValueId, heads: number): ValueId =>
    e.transpose(e.reshape(x, [0, 0, heads, -1]), [0, 2, 1, 3]);
  const [queries, keys] = [e.int("q_num_heads", 0), e.int("kv_num_heads", 0)];
  if (queries < 1 || keys < 1) return { why: "its numbers of heads are not given" };
  const inputs = [split(q, queries), split(k, keys), split(v, keys), ...masks];
  const y = e.op("Attention", inputs, attrsBut(e, ["q_num_heads", "kv_num_heads"]));
  return e.reshape(e.transpose(y, [0, 2, 1, 3]), [0, 0, -1]);
};

/**
 * onnxruntime's MultiHeadAttention with query, key and value apart, for targets without kernels for packed ones. Left
 * alone elsewhere and where they are apart.
 */
export const attentionApart: Lowering = (e) => {
  if (e.target?.limits.packedAttention !== false || !isPackedAttention(e.node)) return null;
  const [q, kv] = [e.input(0), e.input(1)];
  const shape = e.shape(kv === null ? 0 : 1);
  const [heads, width] = [e.int("num_heads", 0), shape?.[4]];
  if (q === null || shape?.length !== 5 || shape[2] !== heads || typeof width !== "number")
    return { why: "query, key and value are not packed as [batch, tokens, heads, 3 or 2, width]" };
  const part = (x: ValueId, i: number): ValueId => e.reshape(e.pick(x, i, 3), [0, 0, heads * width]);
  const three = kv === null ? [0, 1, 2].map((i) => part(q, i)) : [q, part(kv, 0), part(kv, 1)];
  return e.patch.node({
    op: e.node.op,
    domain: e.node.domain,
    name: e.node.name,
    inputs: [...three, ...e.node.inputs.slice(3)],
    attrs: attrsBut(e, []),
  })[0];
};
