import type { Node } from "../../../ir/graph.ts";
import { intAttr } from "../../../ir/graph.ts";
import { sameShape } from "../../../ir/pattern/checks.ts";
import { i64Tensor } from "../../../ir/tensor.ts";
import type { Dim } from "../../../ir/types.ts";
import type { RewriteContext, Rule } from "../../rewrite.ts";

/** Operators that only change the shape: their output holds the elements of input 0 in the same order. */
const RESHAPES = ["Reshape", "Squeeze", "Unsqueeze", "Flatten"];

/**
 * A constant Reshape target that takes `from` to `to`: numbers as they are, 0 where an axis keeps its symbolic
 * length, -1 for at most one other symbolic axis. `null` when no constant can say it.
 */
export function reshapeTarget(from: readonly Dim[], to: readonly Dim[]): number[] | null {
  let inferred = 0;
  const target = to.map((d, i) => {
    if (typeof d === "number") return d;
    if (from[i] === d) return 0;
    inferred++;
    return -1;
  });
  // A literal 0 would be read as "keep", and -1 cannot be solved beside an empty axis.
  if (inferred > 1 || to.some((d) => d === 0) || from.some((d) => d === 0)) return null;
  return target;
}

function toReshape(c: RewriteContext, node: Node, source: Node, target: readonly number[]): void {
  const [out] = c.patch.node({
    op: "Reshape",
    name: node.name,
    inputs: [source.inputs[0]!, c.patch.constant(i64Tensor(target), `${node.name}_shape`)],
  });
  c.bypass(node, out);
}

/** Shape in equals shape out. */
const noop: Rule = {
  name: "reshape-noop",
  ops: [...RESHAPES, "Expand"],
  apply(c, node) {
    const x = node.inputs[0]!;
    if (!sameShape(c.shape(x), c.shape(node.outputs[0])) || !c.claim(node)) return false;
    c.bypass(node, x);
    return true;
  },
};

/** A computed target becomes a constant one, which frees the Shape-Gather-Concat chain behind it. */
const constantTarget: Rule = {
  name: "reshape-constant-target",
  ops: ["Reshape"],
  apply(c, node) {
    if (c.constant(node, 1) !== null) return false;
    const from = c.shape(node.inputs[0]);
    const to = c.shape(node.outputs[0]);
    if (from === null || to === null) return false;
    const target = reshapeTarget(from, to);
    if (target === null || !c.claim(node)) return false;
    toReshape(c, node, node, target);
    return true;
  },
};

/** Every Shape of a whole tensor by the lengths it measures, in graph order, and the place of every node. */
function measuredLengths(c: RewriteContext): {
  readonly by: ReadonlyMap<string, readonly Node[]>;
  readonly place: ReadonlyMap<Node, number>;
} {
  const by = new Map<string, Node[]>();
  const place = new Map<Node, number>();
  for (const node of c.graph.nodes()) {
    place.set(node, place.size);
    if (node.op !== "Shape" || node.domain !== "" || node.attrs.size > 0) continue;
    const key = c.shape(node.inputs[0])?.join();
    if (key === undefined) continue;
    const list = by.get(key);
    if (list === undefined) by.set(key, [node]);
    else list.push(node);
  }
  return { by, place };
}

/**
 * A computed target that is the shape of another value whose shape is read anyway: that one serves, and the arithmetic
 * goes. The other value has to come first, or the graph would turn in a circle.
 */
const likeAnother: Rule = {
  name: "reshape-like-another",
  ops: ["Reshape"],
  apply(c, node) {
    const made = c.producer(node, 1);
    if (made === undefined || made.op === "Shape") return false;
    const to = c.shape(node.outputs[0]);
    if (to === null) return false;
    const { by, place } = c.once(measuredLengths);
    for (const earlier of by.get(to.join()) ?? []) {
      if (place.get(earlier)! > place.get(node)!) return false;
      if (c.isClaimed(earlier)) continue;
      if (!c.claim(node)) return false;
      c.patch.replace(node, { inputs: [node.inputs[0]!, earlier.outputs[0]!] });
      return true;
    }
    return false;
  },
};

/** Expand with a computed target: an axis that the input already has at full length may be written 1. */
const expandTarget: Rule = {
  name: "expand-constant-target",
  ops: ["Expand"],
  apply(c, node) {
    if (c.constant(node, 1) !== null) return false;
    const from = c.shape(node.inputs[0]);
    const to = c.shape(node.outputs[0]);
    if (from === null || to === null) return false;
    const lead = to.length - from.length;
    const target = to.map((d, i) => (typeof d === "number" ? d : from[i - lead] === d ? 1 : null));
    if (target.includes(null) || !c.claim(node)) return false;
    const shape = c.patch.constant(i64Tensor(target as number[]), `${node.name}_shape`);
    c.patch.replace(node, { inputs: [node.inputs[0]!, shape] });
    return true;
  },
};

/** A chain of shape changes with nothing else reading the middle is one Reshape. */
const chain: Rule = {
  name: "reshape-chain",
  ops: RESHAPES,
  apply(c, node) {
    const inner = c.producer(node, 0);
    if (inner === undefined || inner.domain !== "" || !RESHAPES.includes(inner.op)) return false;
    if (c.onlyUser(inner) === undefined) return false;
    const from = c.shape(inner.inputs[0]);
    const to = c.shape(node.outputs[0]);
    if (from === null || to === null) return false;
    const target = reshapeTarget(from, to);
    if (target === null || !c.claim(node, inner)) return false;
    toReshape(c, node, inner, target);
    c.patch.remove(inner.id);
    return true;
  },
};

/** Slices that cut one axis into consecutive pieces are a Split (how `chunk` is often exported). */
const slicesToSplit: Rule = {
  name: "slices-to-split",
  ops: ["Slice"],
  apply(c, node) {
    if (c.opset < 13) return false;
    const x = node.inputs[0]!;
    const shape = c.shape(x);
    if (shape === null) return false;
    const slices = c.graph
      .users(x)
      .map((id) => c.graph.node(id))
      .filter((n) => n.op === "Slice" && n.domain === "");
    if (slices.length < 2 || slices[0] !== node) return false;
    const cuts = slices.map((s) => sliceOf(c, s, shape));
    const axis = cuts[0]?.axis;
    if (axis === undefined || cuts.some((cut) => cut === null || cut.axis !== axis)) return false;
    const ordered = cuts.map((cut, i) => ({ ...cut!, node: slices[i]! })).sort((a, b) => a.start - b.start);
    let at = 0;
    for (const cut of ordered) {
      if (cut.start !== at || cut.end <= cut.start) return false;
      at = cut.end;
    }
    if (at !== shape[axis] || !c.claim(...slices)) return false;
    const sizes = c.patch.constant(
      i64Tensor(ordered.map((cut) => cut.end - cut.start)),
      `${node.name}_sizes`,
    );
    const parts = c.patch.node({
      op: "Split",
      name: `${node.name}_split`,
      inputs: [x, sizes],
      attrs: { axis: intAttr(axis) },
      outputs: ordered.length,
    });
    for (const [i, cut] of ordered.entries()) c.bypass(cut.node, parts[i]!);
    return true;
  },
};

/** The single axis and range a Slice with constant arguments keeps; `null` when it is anything else. */
export function sliceOf(
  c: RewriteContext,
  node: Node,
  shape: readonly Dim[],
): { axis: number; start: number; end: number } | null {
  const starts = c.ints(node, 1);
  const ends = c.ints(node, 2);
  const axes = node.inputs[3] == null ? [0] : c.ints(node, 3);
  const steps = node.inputs[4] == null ? [1] : c.ints(node, 4);
  if (starts?.length !== 1 || ends?.length !== 1 || axes?.length !== 1 || steps?.[0] !== 1) return null;
  const axis = axes[0]! < 0 ? axes[0]! + shape.length : axes[0]!;
  const length = shape[axis];
  if (typeof length !== "number") return null;
  const clamp = (v: number): number => Math.min(Math.max(v < 0 ? v + length : v, 0), length);
  return { axis, start: clamp(starts[0]!), end: clamp(ends[0]!) };
}

export const reshapeRules: readonly Rule[] = [
  noop,
  constantTarget,
  likeAnother,
  expandTarget,
  chain,
  slicesToSplit,
];
