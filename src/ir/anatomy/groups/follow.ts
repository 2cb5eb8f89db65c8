import { equalDim } from "../../dim.ts";
import { isFloat } from "../../dtype.ts";
import { type Graph, type Node, type NodeId, nodeReads, opKey, type ValueId } from "../../graph.ts";
import type { InferredShapes } from "../../infer.ts";
import { hasTrait } from "../../ops/index.ts";
import type { Dim } from "../../types.ts";
import { type Axes, type Axis, Ledger } from "./ledger.ts";
import { COMPUTE } from "./rules-compute.ts";
import { LAYOUT } from "./rules-layout.ts";
import { broadcast, type ConstantUse, type Fix, frozen, type Rule, type Site } from "./site.ts";

/** The axes of every value of a graph and what nodes know of their lengths. */
export interface Followed {
  readonly ledger: Ledger;
  readonly values: ReadonlyMap<ValueId, Axes>;
  readonly uses: readonly ConstantUse[];
  readonly fixes: ReadonlyMap<NodeId, readonly Fix[]>;
  readonly work: ReadonlyMap<NodeId, Axes>;
}

/** Every operator with the trait: output element i comes from input elements i. */
const elementwise: Rule = (s) => {
  const operands = s.node.inputs.flatMap((id, i) => (id === null ? [] : [s.axes(i)]));
  if (operands.some((a) => a === null)) return null;
  return s.node.outputs.map(() => broadcast(s, operands as Axes[]));
};

function ruleOf(node: Node): Rule | null {
  const name = opKey(node);
  const own = LAYOUT[name] ?? COMPUTE[name];
  if (own !== undefined) return own;
  return hasTrait(node, "elementwise") || node.op === "Identity" || node.op === "Dropout"
    ? elementwise
    : null;
}

/** Operators that integers from Shape may go through without changing what the network computes. */
const SHAPE_WORK = new Set(
  "Shape Gather Unsqueeze Squeeze Concat Mul Div Add Sub Slice Split Where Equal Identity Cast Expand".split(
    " ",
  ),
);

/** True when the lengths a Shape reads end as targets of Reshape or Expand and nowhere else. */
function onlyShapes(graph: Graph, shapes: InferredShapes, node: Node): boolean {
  const queue = [node];
  const seen = new Set<NodeId>();
  for (let n = queue.pop(); n !== undefined; n = queue.pop()) {
    for (const out of n.outputs) {
      if (out === null) continue;
      if (graph.isOutput(out)) return false;
      const dtype = shapes.dtype(out);
      if (dtype === null || isFloat(dtype)) return false;
      for (const id of graph.users(out)) {
        const user = graph.node(id);
        const target = (user.op === "Reshape" || user.op === "Expand") && user.inputs[0] !== out;
        if (target || seen.has(id)) continue;
        if (!SHAPE_WORK.has(user.op) || user.domain !== "") return false;
        seen.add(id);
        queue.push(user);
      }
    }
  }
  return true;
}

/** An axis without elements whose length inference knows under another name, as after broadcasting, takes that length. */
function settled(ledger: Ledger, axis: Axis, length: Dim): Axis {
  const [only, ...more] = axis;
  const open = only !== undefined && more.length === 0 && typeof only.length !== "number";
  if (!open || equalDim(only.length, length)) return axis;
  const other = ledger.axis(length);
  ledger.freeze(other, "broadcast from an open length");
  return other;
}

/**
 * Follows every axis from where it is made to where it is summed over. Operators it has no rule for, and values of
 * unknown rank, keep all their elements.
 */
export function followAxes(graph: Graph, shapes: InferredShapes): Followed {
  const ledger = new Ledger();
  const values = new Map<ValueId, Axes>();
  const uses: ConstantUse[] = [];
  const fixes = new Map<NodeId, Fix[]>();
  const work = new Map<NodeId, Axes>();
  for (const id of graph.inputs) {
    const shape = shapes.shape(id);
    if (shape === null) continue;
    const axes = shape.map((d) => ledger.axis(d));
    for (const a of axes) ledger.freeze(a, "an input of the model");
    values.set(id, axes);
  }
  for (const node of graph.nodes()) {
    const mine = new Map<number, Axes | null>();
    const site: Site = {
      graph,
      shapes,
      ledger,
      node,
      axes(i) {
        const id = node.inputs[i];
        if (id === null || id === undefined) return null;
        const known = mine.get(i);
        if (known !== undefined) return known;
        const constant = graph.constant(id);
        let axes = values.get(id) ?? null;
        if (constant !== null) {
          axes = constant.dims.map((d) => ledger.axis(d));
          uses.push({ node: node.id, input: i, axes });
        }
        mine.set(i, axes);
        return axes;
      },
      fix: (fix) => fixes.set(node.id, [...(fixes.get(node.id) ?? []), fix]),
      work: (axes) => work.set(node.id, axes),
    };
    const float = node.outputs.every((o) => o === null || isFloat(shapes.dtype(o) ?? "i64"));
    const rule = float ? ruleOf(node) : null;
    const found = rule?.(site) ?? null;
    if (found === null) {
      const shaped = node.op === "Shape" || node.op === "Size";
      if (!shaped || !onlyShapes(graph, shapes, node)) {
        const why = shaped ? "its length is computed with" : `${node.op} is not followed`;
        for (const id of nodeReads(node)) ledger.freeze(values.get(id)?.flat() ?? [], why);
        for (const a of mine.values()) ledger.freeze(a?.flat() ?? [], why);
      }
    }
    for (const [i, out] of node.outputs.entries()) {
      const shape = out === null ? null : shapes.shape(out);
      if (out === null || shape === null) continue;
      const axes =
        found?.[i]?.map((a, k) => settled(ledger, a, shape[k]!)) ?? frozen(site, shape, `made by ${node.op}`);
      values.set(out, axes);
      if (i === 0 && !work.has(node.id)) work.set(node.id, axes);
    }
  }
  for (const id of graph.outputs) ledger.freeze(values.get(id)?.flat() ?? [], "an output of the model");
  return { ledger, values, uses, fixes, work };
}
