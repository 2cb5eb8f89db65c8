import { addDim, divDim, mulDim } from "../dim.ts";
import type { Dim } from "../types.ts";
import { count, elements, freshShape, sameAs } from "./shape-rules.ts";
import type { CostContext, InferContext, OpSpec } from "./spec.ts";

/** Batch, heads, sequence and head size of one operand. */
interface Heads {
  readonly batch: Dim;
  readonly heads: Dim;
  readonly length: Dim;
  readonly size: Dim;
}

/** Reads [B, heads, S, d], or [B, S, heads*d] with the head count from an attribute (Attention-23). */
function headsOf(ctx: InferContext, i: number, attr: string): Heads | null {
  const shape = ctx.shape(i);
  if (shape === null) return null;
  if (shape.length === 4) {
    const [batch, heads, length, size] = shape as readonly [Dim, Dim, Dim, Dim];
    return { batch, heads, length, size };
  }
  const heads = ctx.int(attr, 0);
  if (shape.length !== 3 || heads < 1) {
    ctx.invalid(`input ${i} has rank ${shape.length}; expected 4, or 3 with ${attr}`);
    return null;
  }
  const [batch, length, hidden] = shape as readonly [Dim, Dim, Dim];
  return { batch, heads, length, size: divDim(hidden, heads) };
}

function inferAttention(ctx: InferContext) {
  const dtype = ctx.dtype(0);
  const q = headsOf(ctx, 0, "q_num_heads");
  const k = headsOf(ctx, 1, "kv_num_heads");
  const v = headsOf(ctx, 2, "kv_num_heads");
  const past = ctx.shape(4)?.[2] ?? 0;
  const total = k === null ? null : addDim(k.length, past);
  const flat = ctx.shape(0)?.length === 3;
  if (q === null || v === null) ctx.set(0, dtype, null);
  else {
    ctx.set(
      0,
      dtype,
      flat ? [q.batch, q.length, mulDim(q.heads, v.size)] : [q.batch, q.heads, q.length, v.size],
    );
  }
  ctx.set(1, ctx.dtype(1), k === null ? null : [k.batch, k.heads, total!, k.size]);
  ctx.set(2, ctx.dtype(2), v === null ? null : [v.batch, v.heads, addDim(v.length, past), v.size]);
  ctx.set(3, dtype, q === null ? null : [q.batch, q.heads, q.length, total ?? ctx.fresh()]);
}

/** QKᵀ, softmax (5 per score) and the product with V. */
function attentionFlops(c: CostContext): number {
  const [q, k, v] = [c.inputs[0], c.inputs[1], c.inputs[2]];
  if (q === null || q === undefined || k === null || k === undefined) return 0;
  const heads = q.length === 4 ? q[1]! : c.int("q_num_heads", c.int("num_heads", 1));
  const batch = q[0]!;
  const from = q[q.length - 2]!;
  const to = k[k.length - 2]!;
  const size = q.length === 4 ? q[3]! : q[2]! / heads;
  const valueSize = v === null || v === undefined ? size : v.length === 4 ? v[3]! : v[v.length - 1]! / heads;
  return batch * heads * from * to * (2 * size + 2 * valueSize + 5);
}

/** `com.microsoft.MultiHeadAttention`: q, k, v are [B, S, H*d]; packed forms keep heads on their own axes. */
function inferMultiHead(ctx: InferContext) {
  const q = ctx.shape(0);
  const k = ctx.shape(1);
  const v = ctx.shape(2);
  const heads = ctx.int("num_heads", 0);
  if (heads < 1) return ctx.invalid(`num_heads is ${heads}`);
  const dtype = ctx.dtype(0);
  if (q === null || (q.length !== 3 && q.length !== 5)) {
    if (q !== null) ctx.invalid(`the query has rank ${q.length}, expected 3 or 5`);
    return ctx.set(0, dtype, null);
  }
  const [batch, length] = [q[0]!, q[1]!];
  const size = q.length === 5 ? q[4]! : divDim(q[2]!, heads);
  let hidden: Dim = q.length === 5 ? mulDim(q[2]!, q[4]!) : q[2]!;
  if (v !== null && v.length === 3) hidden = v[2]!;
  else if (v !== null && v.length === 4) hidden = mulDim(v[1]!, v[3]!);
  ctx.set(0, dtype, [batch, length, hidden]);
  if (ctx.node.outputs.length === 1) return;
  const keys = k === null ? length : k.length === 4 ? k[2]! : k[1]!;
  const total = addDim(keys, ctx.shape(6)?.[2] ?? 0);
  ctx.set(1, dtype, [batch, heads, total, size]);
  ctx.set(2, dtype, [batch, heads, total, divDim(hidden, heads)]);
  ctx.set(3, dtype, [batch, heads, length, total]);
}

/** `com.microsoft.Attention`: one packed projection of the input, [C, 3C] unless `qkv_hidden_sizes` says otherwise. */
function inferPackedAttention(ctx: InferContext) {
  const x = ctx.shape(0);
  const w = ctx.shape(1);
  const heads = ctx.int("num_heads", 0);
  const sizes = ctx.ints_("qkv_hidden_sizes");
  if (heads < 1) return ctx.invalid(`num_heads is ${heads}`);
  if (x === null || x.length !== 3) return ctx.set(0, ctx.dtype(0), x === null ? null : freshShape(ctx, 3));
  const hidden = sizes?.[2] ?? (w === null ? ctx.fresh() : divDim(w[1] ?? ctx.fresh(), 3));
  ctx.set(0, ctx.dtype(0), [x[0]!, x[1]!, hidden]);
  if (ctx.node.outputs.length > 1) {
    ctx.set(1, ctx.dtype(0), [2, x[0]!, heads, addDim(x[1]!, ctx.shape(4)?.[3] ?? 0), divDim(hidden, heads)]);
  }
}

/** The projection to 3C and the attention itself. */
function packedAttentionFlops(c: CostContext): number {
  const x = c.inputs[0];
  const w = elements(c.inputs[1]);
  if (x === null || x === undefined || w === null) return 0;
  const [batch, length, hidden] = [x[0] ?? 0, x[1] ?? 0, c.outputs[0]?.[2] ?? 0];
  return 2 * batch * length * w + batch * length * length * (4 * hidden + 5 * c.int("num_heads", 1));
}

function inferGroupQuery(ctx: InferContext) {
  const q = ctx.shape(0);
  const [heads, shared] = [ctx.int("num_heads", 0), ctx.int("kv_num_heads", 0)];
  if (heads < 1 || shared < 1) return ctx.invalid("num_heads and kv_num_heads must be positive");
  const dtype = ctx.dtype(0);
  if (q === null || q.length !== 3) return ctx.set(0, dtype, null);
  const packed = ctx.node.inputs[1] === null || ctx.node.inputs[1] === undefined;
  const size = divDim(q[2]!, packed ? heads + 2 * shared : heads);
  ctx.set(0, dtype, [q[0]!, q[1]!, mulDim(size, heads)]);
  // A cache may be preallocated or grow, which the graph does not say: its length stays open.
  for (const o of [1, 2]) ctx.set(o, dtype, [q[0]!, shared, ctx.fresh(), size]);
}

const base = { domain: "" } as const;
const contrib = { domain: "com.microsoft", versions: [1] } as const;

/** Attention and position encodings, standard and contributed. */
export const attentionOps: readonly OpSpec[] = [
  {
    ...base,
    op: "Attention",
    versions: [23, 24],
    inputs: count(3, 7),
    outputs: count(1, 4),
    infer: inferAttention,
    flops: attentionFlops,
  },
  {
    ...base,
    op: "RotaryEmbedding",
    versions: [23],
    inputs: count(3, 4),
    outputs: count(1),
    infer: (ctx) => sameAs(ctx, 0),
    flops: (c) => 3 * (elements(c.inputs[0]) ?? 0),
  },
  {
    ...contrib,
    op: "RotaryEmbedding",
    inputs: count(4),
    outputs: count(1),
    infer: (ctx) => sameAs(ctx, 0),
    flops: (c) => 3 * (elements(c.inputs[0]) ?? 0),
  },
  {
    ...contrib,
    op: "MultiHeadAttention",
    inputs: count(1, 10),
    outputs: count(1, 4),
    infer: inferMultiHead,
    flops: attentionFlops,
  },
  {
    ...contrib,
    op: "Attention",
    inputs: count(2, 7),
    outputs: count(1, 3),
    infer: inferPackedAttention,
    flops: packedAttentionFlops,
    weight: (node, rank) =>
      rank(1) !== 2
        ? null
        : {
            input: 1,
            outAxis: 1,
            inAxis: 0,
            reduceAxes: [0],
            activation: 0,
            bias: node.inputs[2] === null || node.inputs[2] === undefined ? null : 2,
            groups: 1,
          },
  },
  {
    ...contrib,
    op: "GroupQueryAttention",
    inputs: count(7, 14),
    outputs: count(1, 4),
    infer: inferGroupQuery,
    flops: attentionFlops,
  },
];
