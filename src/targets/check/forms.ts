import { type Node, opKey } from "../../ir/graph.ts";
import type { AttentionLimits, OperatorSet, PackedProductLimits, ResizeLimits } from "../limits.ts";
import { isPackedAttention } from "../lower/attention.ts";
import type { Finding } from "./types.ts";
import type { CheckView } from "./view.ts";

/** Attribute as a whole number; `fallback` where it is absent. */
const flag = (view: CheckView, node: Node, name: string): boolean => view.int(node, name, 0) !== 0;

/** Lengths of scales of a Resize, where they are constants. */
function scalesOf(view: CheckView, node: Node): readonly number[] | null {
  const [x, , scales, sizes] = node.inputs;
  const given = view.numbers(scales);
  if (given !== null && given.length > 0) return Array.from(given);
  const before = view.shape(x);
  const wanted = view.numbers(sizes) ?? view.shape(node.outputs[0]);
  if (before === null || wanted === null || wanted.length !== before.length) return null;
  const ratio = before.map((d, i) =>
    typeof d === "number" && typeof wanted[i] === "number" ? wanted[i] / d : Number.NaN,
  );
  return ratio.some(Number.isNaN) ? null : ratio;
}

/** What a Resize asks for that its compiler does not take. */
export function* resizeProblems(
  view: CheckView,
  limits: ResizeLimits,
): Generator<{ node: Node; why: string }> {
  for (const node of view.nodes) {
    if (opKey(node) !== "Resize") continue;
    const mode = view.text(node, "mode", "nearest");
    const coordinates = view.text(node, "coordinate_transformation_mode", "half_pixel");
    const nearest = view.text(node, "nearest_mode", "round_prefer_floor");
    const policy = view.text(node, "keep_aspect_ratio_policy", "stretch");
    const bad = (why: string) => ({ node, why: `Resize ${why}` });
    if (limits.modes?.includes(mode) === false)
      yield bad(`interpolates in mode ${mode}, taken are ${limits.modes.join(" and ")}`);
    if (limits.antialias === false && flag(view, node, "antialias")) yield bad("asks for antialias");
    if (limits.excludeOutside === false && flag(view, node, "exclude_outside"))
      yield bad("asks for exclude_outside");
    if (limits.notInHalf?.includes(mode) && view.dtype(node.inputs[0]) === "f16")
      yield bad(`is ${mode} in half precision`);
    if (limits.coordinates?.includes(coordinates) === false)
      yield bad(`maps coordinates by ${coordinates}, taken are ${limits.coordinates.join(", ")}`);
    if (mode === "nearest" && limits.nearest?.includes(nearest) === false)
      yield bad(`rounds by ${nearest}, taken are ${limits.nearest.join(", ")}`);
    if (limits.stretchOnly && policy !== "stretch")
      yield bad(`keeps the aspect ratio (${policy}), taken is stretch`);
    if (limits.constantScales && !(view.isKnown(node.inputs[2]) && view.isKnown(node.inputs[3])))
      yield bad("computes its scales or sizes, and they must be constants");
    const scales = scalesOf(view, node);
    if (limits.spatialOnly && scales?.some((s, i) => i < scales.length - 2 && s !== 1))
      yield bad(`changes other axes than the last two (scales ${scales.join(", ")})`);
    if (limits.wholeScales && scales?.some((s) => !Number.isInteger(s)))
      yield bad(`has scales that are not whole numbers (${scales.join(", ")})`);
  }
}

/** What MatMulNBits nodes have that a kernel does not take, or not on its fast path. */
export function* packedProblems(
  view: CheckView,
  limits: PackedProductLimits,
): Generator<{ node: Node; why: string }> {
  for (const node of view.nodes) {
    if (opKey(node) !== "com.microsoft:MatMulNBits") continue;
    const [bits, block] = [view.int(node, "bits", 4), view.int(node, "block_size", 32)];
    const [k, n] = [view.int(node, "K", 0), view.int(node, "N", 0)];
    const bad = (why: string) => ({ node, why: `MatMulNBits ${why}` });
    const has = (i: number): boolean => node.inputs[i] !== null && node.inputs[i] !== undefined;
    if (limits.bits?.includes(bits) === false)
      yield bad(`has ${bits} bits, kernels take ${limits.bits.join(" and ")}`);
    if (limits.blocks?.includes(block) === false)
      yield bad(`has blocks of ${block}, the fast path takes ${limits.blocks.join(" and ")}`);
    const multiple = limits.kMultiple === "block" ? block : limits.kMultiple;
    if (multiple !== undefined && k % multiple !== 0)
      yield bad(`sums ${k} elements, which is no multiple of ${multiple}`);
    const wide = limits.nMultiple?.[bits];
    if (wide !== undefined && n % wide !== 0) yield bad(`has ${n} outputs, which is no multiple of ${wide}`);
    if (limits.groupIndex === false && has(4)) yield bad("has g_idx");
    if (limits.bias === false && has(5)) yield bad("has a bias");
    if (limits.noZeroPointsAt?.includes(bits) && has(3)) yield bad(`has zero points at ${bits} bits`);
  }
}

/** Attention operators, whatever their domain. */
const ATTENTION = new Set(["com.microsoft:MultiHeadAttention", "com.microsoft:Attention", "Attention"]);

/** Length of one head, where it is known. */
function headSize(view: CheckView, node: Node): number | null {
  const shape = view.shape(node.inputs[0]);
  const last = shape?.[shape.length - 1];
  if (typeof last !== "number") return null;
  if (shape!.length === 4 && node.domain === "") return last;
  if (shape!.length === 5) return last;
  const heads = view.int(node, node.domain === "" ? "q_num_heads" : "num_heads", 0);
  return heads > 0 ? last / heads : null;
}

/** What attention operators have that keeps them off the fused kernel. */
export function* attentionProblems(
  view: CheckView,
  limits: AttentionLimits,
): Generator<{ node: Node; why: string }> {
  for (const node of view.nodes) {
    const key = opKey(node);
    if (!ATTENTION.has(key)) continue;
    const bad = (why: string) => ({ node, why: `${node.op} ${why}` });
    const size = headSize(view, node);
    if (size !== null && limits.headMultiple !== undefined && size % limits.headMultiple !== 0)
      yield bad(`has heads of ${size}, the fast kernel takes multiples of ${limits.headMultiple}`);
    if (size !== null && limits.headMax !== undefined && size > limits.headMax)
      yield bad(`has heads of ${size}, the fast kernel takes up to ${limits.headMax}`);
    const maskAt = key === "Attention" ? [3] : key === "com.microsoft:Attention" ? [3, 5] : [4, 5];
    const masks = maskAt.map((i) => node.inputs[i]).filter((m) => m !== null && m !== undefined);
    if (limits.mask === false && masks.length > 0)
      yield bad("has a mask or a bias, which costs the fast kernel");
    if (limits.boolMask === false && key === "Attention" && masks.some((m) => view.dtype(m) === "bool"))
      yield bad("has a boolean mask");
    const softcap = view.attr(node, "softcap");
    if (limits.softcap === false && softcap?.kind === "float" && softcap.value !== 0)
      yield bad("has a softcap");
  }
}

/** Packed queries, keys and values of MultiHeadAttention: a fourth or fifth axis. */
export function* packedAttention(view: CheckView): Generator<{ node: Node; why: string }> {
  for (const node of view.nodes)
    if (
      opKey(node) === "com.microsoft:MultiHeadAttention" &&
      node.inputs.slice(0, 2).some((i) => (view.shape(i)?.length ?? 3) > 4)
    )
      yield {
        node,
        why: "MultiHeadAttention has packed queries, keys or values, for which there is no kernel",
      };
}

/** Packed attention of another form than its kernels read. */
export function* packedForms(view: CheckView): Generator<{ node: Node; why: string }> {
  for (const node of view.nodes) {
    if (node.domain !== "com.microsoft" || !isPackedAttention(node)) continue;
    const bad = (why: string) => ({ node, why: `MultiHeadAttention ${why}` });
    const has = (i: number): boolean => (node.inputs[i] ?? null) !== null;
    const heads = view.int(node, "num_heads", 0);
    const count = has(1) ? 2 : 3;
    const shape = view.shape(node.inputs[has(1) ? 1 : 0]);
    const query = view.shape(node.inputs[0]);
    if (shape !== null && (shape.length !== 5 || shape[2] !== heads || shape[3] !== count))
      yield bad(`reads [${shape.join(", ")}] where [batch, tokens, ${heads}, ${count}, width] is packed`);
    else if (
      has(1) &&
      typeof query?.[2] === "number" &&
      typeof shape?.[4] === "number" &&
      query[2] !== heads * shape[4]
    )
      yield bad(`has queries ${query[2]} wide and keys of ${heads} heads of ${shape[4]}`);
    if (has(1) && has(3)) yield bad("has a bias behind packed keys and values");
    if (has(6) || has(7)) yield bad("is packed and has a past");
  }
}

/** Nodes whose inputs, by operator and place, are computed while they must be constants. */
export function* computedArguments(
  view: CheckView,
  constants: Readonly<Record<string, readonly number[]>>,
): Generator<{ node: Node; why: string }> {
  for (const node of view.nodes) {
    const places = node.domain === "" ? constants[node.op] : undefined;
    const at = places?.find((i) => !view.isKnown(node.inputs[i]));
    if (at !== undefined) yield { node, why: `input ${at} of ${node.op} is computed and must be a constant` };
  }
}

/** Whether a provider takes an operator. */
export function takes({ standard, contrib }: OperatorSet, node: Pick<Node, "domain" | "op">): boolean {
  if (node.domain === "com.microsoft") return contrib.includes(node.op);
  if (node.domain !== "") return false;
  return "only" in standard ? standard.only.includes(node.op) : !standard.except.includes(node.op);
}

/** Findings with a place for all of them. */
export function* placed(
  problems: Iterable<{ readonly node: Node; readonly why: string }>,
  places: "leaves" | "float",
): Generator<Finding> {
  for (const p of problems) yield { ...p, places };
}
