import type { Node, ValueId } from "../../ir/graph.ts";
import type { Emit, Lowering } from "./emit.ts";

interface Heads {
  readonly heads: number;
  readonly width: number;
}

/** [B, S, heads·d] to [B, heads, S, d]. */
function split(e: Emit, x: ValueId, { heads, width }: Heads): ValueId {
  return e.transpose(e.reshape(x, [0, -1, heads, width / heads]), [0, 2, 1, 3]);
}

/** softmax(scale · q·kᵀ + mask) · v for [B, heads, tokens, d]; √scale goes to both sides so that fp16 has headroom. */
function product(e: Emit, q: ValueId, k: ValueId, v: ValueId, scale: number, mask: ValueId | null): ValueId {
  const root = e.scalar(Math.sqrt(scale), e.dtype(0) ?? "f32");
  const keys = e.transpose(e.op("Mul", [k, root]), [0, 1, 3, 2]);
  const scores = e.op("MatMul", [e.op("Mul", [q, root]), keys]);
  return e.op("MatMul", [e.softmax(mask === null ? scores : e.op("Add", [scores, mask])), v]);
}

function widths(e: Emit, heads: number): Heads[] | null {
  const out: Heads[] = [];
  for (const i of [0, 1, 2]) {
    const shape = e.shape(i);
    const width = shape?.length === 3 ? shape[2] : undefined;
    if (typeof width !== "number" || width % heads !== 0) return null;
    out.push({ heads, width });
  }
  return out;
}

function fromThree(e: Emit, heads: number, mask: ValueId | null): ReturnType<Lowering> {
  const [q, k, v] = [e.input(0), e.input(1), e.input(2)];
  const sizes = widths(e, heads);
  if (q === null || k === null || v === null || sizes === null)
    return { why: "query, key and value are not three [batch, tokens, width] inputs of known width" };
  const scale = e.float("scale", 0) || 1 / Math.sqrt(sizes[0]!.width / heads);
  const y = product(e, split(e, q, sizes[0]!), split(e, k, sizes[1]!), split(e, v, sizes[2]!), scale, mask);
  return e.reshape(e.transpose(y, [0, 2, 1, 3]), [0, -1, sizes[2]!.width]);
}

/** One of the tensors packed along axis 3 of [B, S, heads, n, d], as [B, heads, S, d]. */
function unpack(e: Emit, packed: ValueId, index: number): ValueId {
  return e.transpose(e.pick(packed, index, 3), [0, 2, 1, 3]);
}

/** MultiHeadAttention of [B, S, heads, 3, d], or of a query [B, S, heads·d] and [B, L, heads, 2, d]. */
function fromPacked(e: Emit, heads: number, mask: ValueId | null): ReturnType<Lowering> {
  const [q, kv] = [e.input(0), e.input(1)];
  const shape = e.shape(kv === null ? 0 : 1);
  const width = shape?.[4];
  if (q === null || shape?.length !== 5 || shape[2] !== heads || typeof width !== "number")
    return { why: "query, key and value are not packed as [batch, tokens, heads, 3 or 2, width]" };
  const scale = e.float("scale", 0) || 1 / Math.sqrt(width);
  const query = kv === null ? unpack(e, q, 0) : split(e, q, { heads, width: heads * width });
  const [key, value] =
    kv === null ? [unpack(e, q, 1), unpack(e, q, 2)] : [unpack(e, kv, 0), unpack(e, kv, 1)];
  const y = product(e, query, key, value, scale, mask);
  return e.reshape(e.transpose(y, [0, 2, 1, 3]), [0, -1, heads * width]);
}

const used = (e: Emit, from: number): boolean =>
  e.node.outputs.slice(from).some((o) => o !== null && (e.graph.users(o).length > 0 || e.graph.isOutput(o)));

/** Whether a MultiHeadAttention reads key and value, or all three, from one tensor: there is no value of its own. */
export function isPackedAttention(node: Node): boolean {
  return node.op === "MultiHeadAttention" && (node.inputs[2] ?? null) === null;
}

/** onnxruntime's MultiHeadAttention in primitives, with query, key and value apart or packed. */
export const multiHeadAttentionInPrimitives: Lowering = (e) => {
  if (used(e, 1)) return { why: "its present key and value are used" };
  const beyond = e.node.inputs.some((id, i) => i > 2 && i !== 5 && id !== null);
  if (beyond || e.int("unidirectional", 0) !== 0) return { why: "it has a bias, padding mask or past" };
  const heads = e.int("num_heads", 1);
  return isPackedAttention(e.node) ? fromPacked(e, heads, e.input(5)) : fromThree(e, heads, e.input(5));
};

/** Attention (ONNX Attention-23) without past, caps and causality in primitives. */
export const attentionInPrimitives: Lowering = (e) => {
  if (used(e, 1)) return { why: "its present key and value or its scores are used" };
  const plain = e.int("is_causal", 0) === 0 && e.float("softcap", 0) === 0;
  if (!plain || e.node.inputs.some((id, i) => i > 3 && id !== null))
    return { why: "it is causal, capped or has a past" };
  const mask = e.input(3);
  if (mask !== null && e.dtype(3) !== e.dtype(0)) return { why: "its mask is boolean" };
  const [q, k, v] = [e.input(0), e.input(1), e.input(2)];
  const shape = e.shape(0);
  if (shape?.length === 3) {
    const heads = e.int("q_num_heads", 1);
    return heads === e.int("kv_num_heads", heads)
      ? fromThree(e, heads, mask)
      : { why: "query and key have different head counts" };
  }
  const width = shape?.[3];
  if (q === null || k === null || v === null || typeof width !== "number" || shape?.[1] !== e.shape(1)?.[1])
    return { why: "its heads or their width are unknown or grouped" };
  return product(e, q, k, v, e.float("scale", 0) || 1 / Math.sqrt(width), mask);
};
