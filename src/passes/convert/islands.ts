import { numbersOf } from "../../ir/constants.ts";
import type { Graph, Node, NodeId, ValueId } from "../../ir/graph.ts";
import { opKey, subgraphs } from "../../ir/graph.ts";
import { hasTrait, opSpec } from "../../ir/ops/index.ts";
import type { HalfRules } from "../../targets/target.ts";
import type { RangeStatistics } from "../pass.ts";
import type { FloatFlow } from "./flow.ts";

/** Why a node stays in fp32. */
export type IslandReason =
  /** The recipe asks for it. */
  | "asked"
  /** Half precision there costs more than a fidelity floor allows. */
  | "precision"
  /** A value it reads or makes leaves the range of the type over the trajectory. */
  | "range"
  /** A constant it reads does not fit the type. */
  | "constant"
  /** Statistics of a norm or softmax that is spelled in primitives. */
  | "statistics"
  /** The argument of a trigonometric function, such as a timestep embedding. */
  | "angle"
  /** The target has no half kernel for the operator. */
  | "operator"
  /** It belongs to a layer on integers, whose scales a half type would round. */
  | "quantized"
  /** What the operator does with types is not known. */
  | "unknown"
  /** It makes floats out of something else. */
  | "source"
  /** A subgraph reads its result. */
  | "captured"
  /** It lies between islands: converting it would only add casts. */
  | "between";

/** Largest finite and smallest normal number of the half types. */
const HALF_LIMITS = {
  f16: { max: 65504, normal: 2 ** -14, tiny: 2 ** -24 },
  bf16: { max: 3.3895313892515355e38, normal: 2 ** -126, tiny: 2 ** -133 },
} as const;

export type HalfType = keyof typeof HALF_LIMITS;

/** Attributes that name the element type of an output. */
const TYPE_ATTRIBUTES = ["dtype", "output_dtype", "output_datatype"];

/** True when the magnitude over the trajectory is too large for the type, or never reaches its normal numbers. */
function outOfRange(
  range: { readonly min: number; readonly max: number } | undefined,
  type: HalfType,
  margin: number,
): boolean {
  if (range === undefined) return false;
  const peak = Math.max(Math.abs(range.min), Math.abs(range.max));
  const { max, normal } = HALF_LIMITS[type];
  return !(peak <= max / margin) || (peak > 0 && peak < normal);
}

/** Small constants with an element that the type turns into infinity or, for scalars, loses bits of. */
function constantMisfit(graph: Graph, id: ValueId, type: HalfType): boolean {
  const values = numbersOf(graph.constant(id));
  if (values === null) return false;
  const { max, normal, tiny } = HALF_LIMITS[type];
  // A scalar below the normal numbers is an epsilon: rounding it changes what it guards.
  const floor = values.length === 1 ? normal : tiny;
  return values.some((x) => Number.isFinite(x) && x !== 0 && (Math.abs(x) > max || Math.abs(x) < floor));
}

/** Reductions, the statistics that follow from them, and the elementwise nodes around both. */
function statistics(flow: FloatFlow): Set<NodeId> {
  const { graph } = flow;
  const marked = new Set<NodeId>();
  const small = new Set<ValueId>();
  const written = (n: Node): boolean => hasTrait(n, "reduction") && !hasTrait(n, "normalization");
  for (const node of graph.nodes()) {
    if (!flow.matters(node)) continue;
    const inputs = flow.floatInputs(node);
    // Softmax and the like keep their sums inside and give back an array of the same size.
    const inside = inputs.some((i) => sameSize(flow, i, node.outputs[0] ?? null));
    if (written(node) && !inside) {
      marked.add(node.id);
      for (const o of flow.floatOutputs(node)) small.add(o);
    } else if (hasTrait(node, "elementwise") && inputs.some((i) => small.has(i))) {
      marked.add(node.id);
      if (inputs.every((i) => small.has(i))) for (const o of flow.floatOutputs(node)) small.add(o);
    }
  }
  // Squares and exponentials that only feed statistics belong to them.
  for (const node of [...graph.nodes()].reverse()) {
    if (marked.has(node.id) || !hasTrait(node, "elementwise") || !flow.matters(node)) continue;
    const users = node.outputs.flatMap((o) => (o === null ? [] : graph.users(o)));
    const out = node.outputs[0] ?? null;
    if (users.length > 0 && users.every((u) => marked.has(u)) && out !== null && !graph.isOutput(out))
      marked.add(node.id);
  }
  return marked;
}

function sameSize(flow: FloatFlow, a: ValueId, b: ValueId | null): boolean {
  const [x, y] = [flow.shapes.shape(a), b === null ? null : flow.shapes.shape(b)];
  return x !== null && y !== null && x.join() === y.join();
}

/** Everything a node's float inputs are computed from during a run. */
function ancestors(flow: FloatFlow, from: readonly Node[]): Set<NodeId> {
  const out = new Set<NodeId>();
  const queue = [...from];
  for (let node = queue.pop(); node !== undefined; node = queue.pop()) {
    if (out.has(node.id)) continue;
    out.add(node.id);
    for (const i of node.inputs) {
      const p = i === null || !flow.isFloat(i) ? undefined : flow.graph.producer(i);
      if (p !== undefined) queue.push(p);
    }
  }
  return out;
}

/** Q, DQ of activations, and what lies between DQ and Q: the groups that runtimes make integer kernels of. */
function isQuantized(flow: FloatFlow, node: Node): boolean {
  const { graph } = flow;
  if (node.op === "QuantizeLinear" || node.op === "DequantizeLinear") return true;
  const from = flow.floatInputs(node);
  const to = node.outputs.flatMap((o) => (o === null ? [] : graph.users(o)));
  return (
    from.length > 0 &&
    to.length > 0 &&
    from.every((i) => graph.producer(i)?.op === "DequantizeLinear") &&
    to.every((u) => graph.node(u)?.op === "QuantizeLinear")
  );
}

/** What decides about islands. */
export interface IslandRules {
  readonly rules: HalfRules;
  readonly type: HalfType;
  /** Magnitudes over the trajectory; `null` where none were collected. */
  readonly ranges: RangeStatistics | null;
  /** Names and operators of nodes that the recipe keeps. */
  readonly exclude: RegExp | null;
  /** Operators that are kept for what rounding them costs, `domain:op` outside of the standard domain. */
  readonly precise: ReadonlySet<string>;
}

/** Whether a pattern names a node or its operator, `domain:op` outside of the standard domain. */
export function isNamed(pattern: RegExp | null, node: Node): boolean {
  return pattern !== null && (pattern.test(node.name) || pattern.test(opKey(node)));
}

/** Nodes that have to stay in fp32, each with its first reason. */
export function forcedIslands(
  flow: FloatFlow,
  { rules, type, ranges, exclude, precise }: IslandRules,
): Map<NodeId, IslandReason> {
  const { graph } = flow;
  const out = new Map<NodeId, IslandReason>();
  const stats = statistics(flow);
  const angles = ancestors(
    flow,
    [...graph.nodes()].filter((n) => rules.f32Ancestors.includes(opKey(n)) && flow.matters(n)),
  );
  const wild = (id: ValueId | null): boolean =>
    id !== null && flow.isFloat(id) && outOfRange(ranges?.get(graph.value(id).name), type, rules.margin);
  for (const node of graph.nodes()) {
    if (!flow.matters(node)) continue;
    const reason = (): IslandReason | null => {
      const ids = [...node.inputs, ...node.outputs].filter((i): i is ValueId => i !== null);
      const untyped = ids.some((i) => flow.shapes.type(i) === null);
      const typed = TYPE_ATTRIBUTES.some((a) => node.attrs.has(a)) && flow.floatOutputs(node).length > 0;
      if (opSpec(node.domain, node.op) === undefined || subgraphs(node).length > 0 || untyped || typed)
        return "unknown";
      if (isNamed(exclude, node)) return "asked";
      if (rules.f32Ops.includes(opKey(node))) return "operator";
      if (isQuantized(flow, node)) return "quantized";
      if (angles.has(node.id)) return "angle";
      if (stats.has(node.id)) return "statistics";
      if (ids.some((i) => flow.captured.has(i) && node.outputs.includes(i))) return "captured";
      if (ids.some(wild)) return "range";
      const keep = rules.keepF32Inputs.find((r) => r.op === opKey(node))?.inputs ?? [];
      const misfit = node.inputs.some(
        (i, at) => i !== null && flow.isFloat(i) && !keep.includes(at) && constantMisfit(graph, i, type),
      );
      if (misfit) return "constant";
      if (precise.has(opKey(node))) return "precision";
      const fromFloats = node.inputs.some((i) => i !== null && flow.isFloat(i));
      return fromFloats ? null : "source";
    };
    const why = reason();
    if (why !== null) out.set(node.id, why);
  }
  return out;
}
