import { numbersOf } from "../../constants.ts";
import type { Graph, Node, NodeId } from "../../graph.ts";
import { attrInt, attrInts } from "../../graph.ts";
import type { InferredShapes } from "../../infer.ts";
import type { Dim } from "../../types.ts";
import type { Axes, Axis, Ledger } from "./ledger.ts";

/** What has to be rewritten in a node when an axis it knows the length of gets shorter. */
export type Fix =
  /** Input 1 is the new shape. */
  | { readonly kind: "reshape"; readonly from: Axes; readonly to: Axes }
  /** The lengths of the outputs along the split axis. */
  | { readonly kind: "split"; readonly parts: readonly Axis[] }
  /** Constant starts and ends along one axis. */
  | {
      readonly kind: "slice";
      readonly axis: number;
      readonly of: Axis;
      readonly start: number;
      readonly part: Axis;
    }
  /** Lengths an Expand repeats. */
  | { readonly kind: "expand"; readonly to: Axes }
  /** An attribute that counts the elements of an axis. */
  | { readonly kind: "count"; readonly attr: string; readonly axis: Axis };

/** A constant as one node reads it; another node's use of the same constant may lose other elements. */
export interface ConstantUse {
  readonly node: NodeId;
  readonly input: number;
  readonly axes: Axes;
}

/** One node while axes are followed through it. */
export interface Site {
  readonly graph: Graph;
  readonly shapes: InferredShapes;
  readonly ledger: Ledger;
  readonly node: Node;
  /** Axes of input `i`; `null` when it is absent or its rank is unknown. */
  axes(i: number): Axes | null;
  fix(fix: Fix): void;
  /** Axes whose lengths the node's operations are proportional to; the axes of its first output unless said. */
  work(axes: Axes): void;
}

/** Axes of the outputs, in order; `null` where the node cannot be followed. */
export type Rule = (s: Site) => readonly Axes[] | null;

/** Rules by operator; the domain is written in front of those outside the standard. */
export type Rules = Readonly<Record<string, Rule>>;

export const int = (s: Site, name: string, fallback: number): number => attrInt(s.node, name) ?? fallback;

export const rankOf = (s: Site, i: number): number => s.axes(i)?.length ?? 0;

/** An axis number counted from the front. */
export const from0 = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

/** Inferred lengths of output `i`. */
export function outputShape(s: Site, i = 0): readonly Dim[] | null {
  const id = s.node.outputs[i];
  return id === null || id === undefined ? null : s.shapes.shape(id);
}

/** Integers of a constant or inferred input, else of the attribute that older opsets have in its place. */
export function integers(s: Site, input: number, attr: string): readonly number[] | null {
  const id = s.node.inputs[input];
  if (id !== null && id !== undefined) {
    const data = numbersOf(s.graph.constant(id)) ?? s.shapes.data(id);
    return data?.every((d) => typeof d === "number") ? (data as readonly number[]) : null;
  }
  return attrInts(s.node, attr) ?? null;
}

/** New axes that cannot lose elements. */
export function frozen(s: Site, dims: readonly Dim[], why: string): Axes {
  const axes = dims.map((d) => s.ledger.axis(d));
  for (const a of axes) s.ledger.freeze(a, why);
  return axes;
}

/** Axes of operands broadcast against each other, trailing axes aligned. */
export function broadcast(s: Site, operands: readonly Axes[]): Axes {
  const rank = Math.max(0, ...operands.map((a) => a.length));
  return Array.from({ length: rank }, (_, i): Axis => {
    const lists = operands
      .map((a) => a[i - rank + a.length])
      .filter((a): a is Axis => a !== undefined && a.length > 0);
    const [first, ...more] = lists;
    for (const other of more)
      s.ledger.same(first!, other, `${s.node.op} meets axes that are cut differently`);
    return first ?? [];
  });
}
