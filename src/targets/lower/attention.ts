import { DTYPES, type DType } from "../../ir/dtype.ts";
import type { Node, ValueId } from "../../ir/graph.ts";
import type { Emit, Lowering } from "./emit.ts";
import { stash } from "./stash.ts";

interface Heads {
  readonly heads: number;
  readonly width: number;
}

/** [B, S, heads·d] to [B, heads, S, d]. */
function split(e: Emit, x: ValueId, { heads, width }: Heads): ValueId {
  return e.transpose(e.reshape(x, [0, -1, heads, width / heads]), [0, 2, 1, 3]);
}

/** How scores are made: their factor, what is added to them, and the type all is computed in, that of the data unless said. */
interface Scoring {
  readonly scale: number;
  readonly mask: ValueId | null;
  readonly dtype?: DType;
}

/** softmax(scale · q·kᵀ + mask) · v for [B, heads, tokens, d]; √scale goes to both sides so that fp16 has headroom. */
function product(
  e: Emit,
  [q, k, v]: readonly [ValueId, ValueId, ValueId],
  { scale, mask, dtype = e.dtype(0) ?? "f32" }: Scoring,
): ValueId {
  const root = e.scalar(Math.sqrt(scale), dtype);
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
  const three = [split(e, q, sizes[0]!), split(e, k, sizes[1]!), split(e, v, sizes[2]!)] as const;
  const y = product(e, three, { scale, mask });
  return e.reshape(e.transpose(y, [0, 2, 1, 3]), [0, -1, sizes[2]!.width]);
}

/** One of the tensors packed along axis 3 of [B, S, heads, n, d], as [B, heads, S, d]. */
function unpack(e: Emit, packed: ValueId, index: number): ValueId {
  return e.transpose(e.pick(packed, index, 3), [0, 2, 1, 3]);
}

/** Query, key and value of [B, S, heads, 3, d], or of a query [B, S, heads·d] and [B, L, heads, 2, d], apart. */
function unpacked(e: Emit, heads: number) {
  const [q, kv] = [e.input(0), e.input(1)];
  const shape = e.shape(kv === null ? 0 : 1);
  const width = shape?.[4];
  if (q === null || shape?.length !== 5 || shape[2] !== heads || typeof width !== "number") return null;
  const three: readonly [ValueId, ValueId, ValueId] =
    kv === null
      ? [unpack(e, q, 0), unpack(e, q, 1), unpack(e, q, 2)]
      : [split(e, q, { heads, width: heads * width }), unpack(e, kv, 0), unpack(e, kv, 1)];
  return { three, width };
}

/** Packed MultiHeadAttention; `inside` computes in fp32 whatever the data are, as kernels do. */
function fromPacked(e: Emit, heads: number, inside: boolean): ReturnType<Lowering> {
  const found = unpacked(e, heads);
  if (found === null)
    return { why: "query, key and value are not packed as [batch, tokens, heads, 3 or 2, width]" };
  const { three, width } = found;
  const scale = e.float("scale", 0) || 1 / Math.sqrt(width);
  const s = inside ? stash(e, three[0]) : { x: three[0], back: (y: ValueId) => y, wide: e.dtype(0) ?? "f32" };
  const widened = (x: ValueId): ValueId => (s.x === three[0] ? x : e.cast(x, DTYPES[s.wide].onnx));
  const bias = e.input(5);
  const mask = bias === null ? null : widened(bias);
  const y = product(e, [s.x, widened(three[1]), widened(three[2])], { scale, mask, dtype: s.wide });
  return e.reshape(e.transpose(s.back(y), [0, 2, 1, 3]), [0, -1, heads * width]);
}

const used = (e: Emit, from: number): boolean =>
  e.node.outputs.slice(from).some((o) => o !== null && (e.graph.users(o).length > 0 || e.graph.isOutput(o)));

/** Whether a MultiHeadAttention reads key and value, or all three, from one tensor: there is no value of its own. */
export function isPackedAttention(node: Node): boolean {
  return node.op === "MultiHeadAttention" && (node.inputs[2] ?? null) === null;
}

function multiHeadAttention(e: Emit, inside: boolean): ReturnType<Lowering> {
  if (used(e, 1)) return { why: "its present key and value are used" };
  const beyond = e.node.inputs.some((id, i) => i > 2 && i !== 5 && id !== null);
  if (beyond || e.int("unidirectional", 0) !== 0) return { why: "it has a bias, padding mask or past" };
  const heads = e.int("num_heads", 1);
  return isPackedAttention(e.node) ? fromPacked(e, heads, inside) : fromThree(e, heads, e.input(5));
}

/** onnxruntime's MultiHeadAttention in primitives, with query, key and value apart or packed. */
export const multiHeadAttentionInPrimitives: Lowering = (e) => multiHeadAttention(e, false);

/** The same as kernels compute packed ones: products and softmax in fp32, rounded once to the type of the data. */
export const packedAttentionAsComputed: Lowering = (e) => multiHeadAttention(e, true);

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
  return product(e, [q, k, v], { scale: e.float("scale", 0) || 1 / Math.sqrt(width), mask });
};
