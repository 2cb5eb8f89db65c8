import { scalarOf } from "../constants.ts";
import { elementCount } from "../dtype.ts";
import { type Node, type NodeId, opKey, type ValueId } from "../graph.ts";
import { isEpsilon, keepsDims, means, notAlong, sameShape, uniformly } from "./checks.ts";
import { type ConstRef, constantOf, dimsOf, floatOr, type MatchScope, reducedAxes } from "./constant.ts";
import {
  escapes,
  further,
  type Match,
  type Mismatch,
  match,
  type Outcome,
  throughIdentity,
} from "./match.ts";
import {
  any,
  chain,
  constant,
  hole,
  type NodePattern,
  oneOf,
  op,
  optional,
  type Pattern,
} from "./pattern.ts";

/** A recognised normalisation with everything a rewrite needs. */
export interface NormMatch {
  readonly kind: "layer-norm" | "group-norm" | "rms-norm" | "instance-norm";
  /** Which row of the pattern table matched: `op` for the operator itself. */
  readonly spelling: string;
  readonly x: ValueId;
  readonly output: ValueId;
  /**
   * Axes whose elements share one mean and variance, ascending; from the back (negative) when the rank is unknown.
   * For group-norm `[2]`: those of [N, G, everything else].
   */
  readonly axes: readonly number[];
  readonly epsilon: number;
  /** Per-element factor, elements in order; `null` when there is none. */
  readonly scale: ConstRef | null;
  readonly bias: ConstRef | null;
  /** Group count of a group-norm. */
  readonly groups: number | null;
  /** Every node of the spelling, root (the last one to compute) first. */
  readonly nodes: readonly NodeId[];
  /** Inner values that something else reads too. */
  readonly escapes: readonly ValueId[];
}

const square = (x: Pattern): Pattern =>
  oneOf(op("Pow", [x, constant(undefined, means(2))]), op("Mul", [x, x]));
const meanOf = (x: Pattern, as: string): Pattern =>
  op("ReduceMean", [x, optional(any())], { as, where: keepsDims });

/** Division by the root of (mean square + epsilon), as exporters spell it. */
function overRoot(x: Pattern, meanSquare: Pattern): readonly NodePattern[] {
  const inner = op("Add", [meanSquare, constant("epsilon", isEpsilon)]);
  const root = oneOf(op("Sqrt", [inner]), op("Pow", [inner, constant(undefined, means(0.5))]));
  const inverse = oneOf(
    op("Reciprocal", [root]),
    op("Div", [constant(undefined, means(1)), root]),
    op("Pow", [inner, constant(undefined, means(-0.5))]),
  );
  return [op("Div", [x, root]), op("Mul", [x, inverse])];
}

const centred = (x: Pattern): Pattern => op("Sub", [x, meanOf(x, "mean")]);
const normalised = (x: Pattern): readonly NodePattern[] =>
  overRoot(centred(x), meanOf(square(centred(x)), "variance"));

const castX: Pattern = chain([op("Cast", [hole])], any("x"), 2);
const split = op("Reshape", [any("x"), any("split-shape")], { as: "split" });
const merged = (core: Pattern): NodePattern => op("Reshape", [core, any("merge-shape")], { as: "merge" });

interface Spelling {
  readonly name: string;
  readonly pattern: NodePattern;
}

/** LayerNormalization of opset 17 written out. */
const LAYER_NORM_SPELLINGS: readonly Spelling[] = normalised(any("x")).map((pattern, i) => ({
  name: i === 0 ? "sub-mean-div-sqrt" : "sub-mean-mul-rsqrt",
  pattern,
}));

/** RMSNormalization of opset 23 written out; a cast to f32 around it is part of the spelling. */
const RMS_NORM_SPELLINGS: readonly Spelling[] = overRoot(castX, meanOf(square(castX), "variance")).map(
  (pattern, i) => ({ name: i === 0 ? "div-root-mean-square" : "mul-rsqrt-mean-square", pattern }),
);

/** GroupNormalization written out. The first is PyTorch's, which lacks the operator before opset 21. */
const GROUP_NORM_SPELLINGS: readonly Spelling[] = [
  {
    name: "reshape-instance-norm",
    pattern: merged(
      op("InstanceNormalization", [split, constant("ones", uniformly(1)), constant("zeros", uniformly(0))], {
        as: "instance",
      }),
    ),
  },
  ...normalised(split).map((core, i) => ({ name: `reshape-layer-norm-${i}`, pattern: merged(core) })),
];

/** Reads a value onward: nodes that use it as data, shape computations left out. */
export function dataUsers(scope: MatchScope, value: ValueId): readonly Node[] {
  return scope.graph
    .users(value)
    .map((u) => scope.graph.node(u))
    .filter((n) => n.op !== "Shape");
}

/** The one node that uses a value, when there is one and the value is not a graph output. */
function soleUser(scope: MatchScope, value: ValueId): Node | undefined {
  if (scope.graph.isOutput(value)) return undefined;
  const users = dataUsers(scope, value);
  return users.length === 1 ? users[0] : undefined;
}

interface Affine {
  readonly output: ValueId;
  readonly scale: ConstRef | null;
  readonly bias: ConstRef | null;
  readonly nodes: readonly Node[];
}

/** Constant factor and then offset along `axes` that follow a value and are its only use. */
function affine(scope: MatchScope, core: ValueId, axes: readonly number[]): Affine {
  const shape = scope.shapes?.shape(core) ?? null;
  let output = core;
  const nodes: Node[] = [];
  const step = (name: string): ConstRef | null => {
    const user = soleUser(scope, output);
    const out = user?.outputs[0];
    if (user === undefined || out === null || out === undefined || opKey(user) !== name) return null;
    const other = user.inputs[user.inputs[0] === output ? 1 : 0];
    const c = constantOf(scope, other);
    const rank = shape?.length ?? Math.max(...axes.map((a) => a + 1), c?.dims.length ?? 0);
    if (c === null || notAlong(c, axes, shape, rank) !== null) return null;
    output = out;
    nodes.unshift(user);
    return c;
  };
  const scale = step("Mul");
  const bias = step("Add");
  return { output, scale, bias, nodes };
}

/** Axes that every ReduceMean of a match reduces over; a reason when they differ. */
function sharedAxes(scope: MatchScope, m: Match): readonly number[] | string {
  let axes: readonly number[] | null = null;
  for (const n of m.nodes) {
    if (n.op !== "ReduceMean") continue;
    const own = reducedAxes(scope, n);
    if (own === null) return "the axes of the mean are not constant";
    if (axes !== null && own.join() !== axes.join()) return `means over axes ${axes} and ${own}`;
    axes = own;
  }
  return axes === null || axes.length === 0 ? "the axes of the mean are not constant" : axes;
}

function miss(why: string, node: Node): Mismatch {
  return { ok: false, why, node: node.id };
}

/** First spelling that matches, else the mismatch that got deepest in terms of the table's order. */
function firstOf(
  scope: MatchScope,
  node: Node,
  table: readonly Spelling[],
): { name: string; m: Match } | Mismatch {
  let last: Mismatch | null = null;
  for (const { name, pattern } of table) {
    if (!pattern.ops.includes(opKey(node))) continue;
    const m = match(scope, node, pattern);
    if (m.ok) return { name, m };
    last = further(last, m);
  }
  return last ?? miss(`${node.op} does not end such a pattern`, node);
}

function build(
  scope: MatchScope,
  node: Node,
  kind: NormMatch["kind"],
  found: { name: string; m: Match },
  axes: readonly number[],
  affineAxes: readonly number[],
  epsilon: number,
  groups: number | null,
): Outcome<NormMatch> {
  const { name, m } = found;
  const core = node.outputs[0];
  if (core === null || core === undefined) return miss("the result has no name", node);
  const a = affine(scope, core, affineAxes);
  const nodes = [...a.nodes, ...m.nodes];
  return {
    ok: true,
    value: {
      kind,
      spelling: name,
      x: m.value("x"),
      output: a.output,
      axes,
      epsilon,
      scale: a.scale,
      bias: a.bias,
      groups,
      nodes: nodes.map((n) => n.id),
      escapes: escapes(scope, nodes, a.output),
    },
  };
}

/** Recognises a written-out LayerNormalization whose division (or multiplication by the inverse root) is `node`. */
export function matchLayerNorm(scope: MatchScope, node: Node): Outcome<NormMatch> {
  const found = firstOf(scope, node, LAYER_NORM_SPELLINGS);
  if (!("m" in found)) return found;
  const axes = sharedAxes(scope, found.m);
  if (typeof axes === "string") return miss(axes, node);
  const epsilon = scalarOf(found.m.const("epsilon")?.tensor ?? null) ?? 0;
  return build(scope, node, "layer-norm", found, axes, axes, epsilon, null);
}

/** Recognises a written-out RMSNormalization whose last core operation is `node`. */
export function matchRmsNorm(scope: MatchScope, node: Node): Outcome<NormMatch> {
  const found = firstOf(scope, node, RMS_NORM_SPELLINGS);
  if (!("m" in found)) return found;
  const axes = sharedAxes(scope, found.m);
  if (typeof axes === "string") return miss(axes, node);
  const x = scope.graph.producer(throughIdentity(scope, found.m.value("x")));
  if (x?.op === "Sub" && scope.graph.producer(x.inputs[1])?.op === "ReduceMean")
    return miss("the input is centred: this is a layer-norm", node);
  const epsilon = scalarOf(found.m.const("epsilon")?.tensor ?? null) ?? 0;
  return build(scope, node, "rms-norm", found, axes, axes, epsilon, null);
}

/** Recognises a written-out GroupNormalization whose merging Reshape is `node`. */
export function matchGroupNorm(scope: MatchScope, node: Node): Outcome<NormMatch> {
  const found = firstOf(scope, node, GROUP_NORM_SPELLINGS);
  if (!("m" in found)) return found;
  const { m } = found;
  const x = m.value("x");
  const wanted = dimsOf(scope, m.value("split-shape"));
  const splitNode = m.node("split");
  const splitShape = scope.shapes?.shape(splitNode?.outputs[0] ?? (-1 as ValueId)) ?? wanted;
  const groups = typeof splitShape?.[1] === "number" && splitShape[1] > 0 ? splitShape[1] : wanted?.[1];
  if (typeof groups !== "number" || splitShape === null || splitShape.length < 3)
    return miss("the group count is not constant", splitNode ?? node);
  const xShape = scope.shapes?.shape(x) ?? null;
  const keepsBatch = wanted?.[0] === 0 || sameShape(splitShape.slice(0, 1), xShape?.slice(0, 1) ?? null);
  if (!keepsBatch) return miss("the first Reshape does not keep the batch axis", splitNode ?? node);
  const out = node.outputs[0];
  const back = scope.graph.producer(m.value("merge-shape"));
  const restores =
    (back?.op === "Shape" && back.inputs[0] === x && back.attrs.size === 0) ||
    (out !== null && out !== undefined && sameShape(scope.shapes?.shape(out) ?? null, xShape));
  if (!restores) return miss("the second Reshape does not restore the input's shape", node);
  const instance = m.node("instance");
  let epsilon: number;
  if (instance !== undefined) {
    epsilon = floatOr(instance, "epsilon", 1e-5);
    const ones = m.const("ones");
    if (ones !== undefined && elementCount(ones.dims) !== groups)
      return miss(
        `InstanceNormalization has ${elementCount(ones.dims)} channels, Reshape ${groups} groups`,
        instance,
      );
  } else {
    const axes = sharedAxes(scope, m);
    if (typeof axes === "string") return miss(axes, node);
    const want = Array.from({ length: splitShape.length - 2 }, (_, i) => i + 2);
    const positive = axes.map((a) => (a < 0 ? a + splitShape.length : a));
    if (positive.join() !== want.join())
      return miss(`means over axes ${axes}, not over all of a group`, node);
    epsilon = scalarOf(m.const("epsilon")?.tensor ?? null) ?? 0;
  }
  return build(scope, node, "group-norm", found, [2], [1], epsilon, groups);
}
