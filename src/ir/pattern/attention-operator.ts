import { type Node, opKey, type ValueId } from "../graph.ts";
import { type AttentionMatch, isZero } from "./attention.ts";
import { floatOr, intOr, type MatchScope } from "./constant.ts";
import { type AttentionInput, dimAt, traceBack } from "./heads.ts";
import type { Mismatch, Outcome } from "./match.ts";

/** Operators that are an attention by themselves: where q, k, v, mask and the head count are. */
const OPERATORS: Readonly<Record<string, { mask: number; heads: string; packed?: boolean }>> = {
  Attention: { mask: 3, heads: "q_num_heads" },
  "com.microsoft:MultiHeadAttention": { mask: 5, heads: "num_heads" },
  "com.microsoft:GroupQueryAttention": { mask: -1, heads: "num_heads" },
  "com.microsoft:Attention": { mask: 5, heads: "num_heads", packed: true },
};

/** Reads an attention operator (standard or `com.microsoft`). For the packed one q, k and v are the unprojected input. */
export function readAttentionOperator(scope: MatchScope, node: Node): Outcome<AttentionMatch> {
  const row = OPERATORS[opKey(node)];
  const bad = (why: string): Mismatch => ({ ok: false, why, node: node.id });
  if (row === undefined) return bad(`${node.op} is not an attention operator`);
  const [a, b, c] = row.packed === true ? [node.inputs[0], node.inputs[0], node.inputs[0]] : node.inputs;
  const output = node.outputs[0];
  if (a === null || a === undefined || output === null || output === undefined)
    return bad("an input is absent");
  const read = (v: ValueId | null | undefined): AttentionInput => {
    const t = traceBack(scope, v ?? a);
    return { value: t.value, source: t.source, direct: t.direct, nodes: t.nodes };
  };
  const q = read(a);
  const rank = scope.shapes?.shape(a)?.length;
  const heads = rank === 4 ? dimAt(scope, a, 1) : intOr(node, row.heads, 0) || null;
  const last = dimAt(scope, a, -1);
  const headDim = rank === 4 ? last : last === null || heads === null ? null : last / heads;
  const scale = floatOr(node, "scale", 0);
  const mask = row.mask < 0 ? null : (node.inputs[row.mask] ?? null);
  return {
    ok: true,
    value: {
      spelling: opKey(node),
      q,
      k: read(b),
      v: read(c),
      kTransposed: false,
      scale: scale !== 0 ? scale : headDim === null ? null : 1 / Math.sqrt(headDim),
      masks: mask === null ? [] : [{ value: mask, kind: "add", zero: isZero(scope, mask) }],
      heads,
      headDim,
      output,
      merged: scope.shapes?.shape(output)?.length === 3 ? output : null,
      softmax: node.id,
      core: [node.id],
      nodes: [node.id],
      escapes: [],
    },
  };
}
