import type { Node, NodeId, ValueId } from "../graph.ts";
import { permOf } from "./checks.ts";
import { constantOf, type MatchScope } from "./constant.ts";
import { dataUsers } from "./norm.ts";

/** One of the three inputs of an attention. */
export interface AttentionInput {
  /** The value that enters the product, scales taken off; for k before the transposition that swaps the last two axes. */
  readonly value: ValueId;
  /** The value before heads are split: the first one going back that is not made by moving elements. */
  readonly source: ValueId;
  /** True when only Reshape and Transpose lie between `source` and `value` (no slicing of a merged projection). */
  readonly direct: boolean;
  /** Nodes between `source` and `value`, last first. */
  readonly nodes: readonly NodeId[];
}

/** Ops that move elements, as far as head splitting and joining use them. */
const MOVES = new Set(["Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity"]);
/** Ops that take a part of a merged projection. */
const TAKES = new Set(["Slice", "Split", "Gather"]);

/** Goes back from an operand of a product to where its heads were split. */
export function traceBack(
  scope: MatchScope,
  value: ValueId,
): AttentionInput & { readonly steps: readonly Node[] } {
  const steps: Node[] = [];
  let at = value;
  let direct = true;
  for (;;) {
    const node = scope.graph.producer(at);
    const from = node?.inputs[0];
    if (node === undefined || node.domain !== "" || from === null || from === undefined) break;
    if (TAKES.has(node.op)) direct = false;
    else if (!MOVES.has(node.op)) break;
    if (constantOf(scope, from) !== null) break;
    steps.push(node);
    at = from;
  }
  return { value, source: at, direct, nodes: steps.map((n) => n.id), steps };
}

/** Length of an axis, counted from the back when negative, when it is a number. */
export function dimAt(scope: MatchScope, value: ValueId | null | undefined, axis: number): number | null {
  const shape = value === null || value === undefined ? null : (scope.shapes?.shape(value) ?? null);
  const d = shape?.at(axis);
  return typeof d === "number" ? d : null;
}

/** Head count and width from the q that enters the product and from how it was split. */
export function headsOf(
  scope: MatchScope,
  q: ValueId,
  steps: readonly Node[],
): { heads: number | null; headDim: number | null } {
  const rank = scope.shapes?.shape(q)?.length;
  const headDim = dimAt(scope, q, -1);
  if (rank === 4) return { heads: dimAt(scope, q, 1), headDim };
  if (steps.length === 0) return { heads: rank === 3 || rank === 2 ? 1 : null, headDim };
  for (const n of steps) {
    if (n.op !== "Transpose") continue;
    const perm = permOf(scope, n);
    if (perm?.join() !== "0,2,1,3") continue;
    return { heads: dimAt(scope, n.outputs[0], 1), headDim: dimAt(scope, n.outputs[0], 3) ?? headDim };
  }
  return { heads: null, headDim };
}

/** Nodes after `output` that join the heads, and the joined value. */
export function joinHeads(
  scope: MatchScope,
  output: ValueId,
  width: number | null,
): { merged: ValueId | null; nodes: readonly Node[] } {
  const nodes: Node[] = [];
  let at = output;
  for (;;) {
    const shape = scope.shapes?.shape(at);
    if (shape?.length === 3 && width !== null && shape[2] === width) return { merged: at, nodes };
    const users = dataUsers(scope, at);
    const next = users[0];
    const out = next?.outputs[0];
    if (users.length !== 1 || next === undefined || out === null || out === undefined) break;
    if (next.domain !== "" || !MOVES.has(next.op) || next.inputs[0] !== at) break;
    nodes.push(next);
    at = out;
  }
  return { merged: null, nodes: [] };
}
