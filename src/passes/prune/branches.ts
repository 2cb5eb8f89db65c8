import { equalDim } from "../../ir/dim.ts";
import type { NodeId } from "../../ir/graph.ts";
import { type Graph, type Node, nodeReads, type ValueId } from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";

/** A residual branch: `node` adds what `branch` makes out of `stream` to `stream`. */
export interface Branch {
  readonly node: Node;
  readonly stream: ValueId;
  readonly branch: ValueId;
  /** Axis of channels of both. */
  readonly axis: number;
  /** Nodes nothing else needs. */
  readonly inner: readonly NodeId[];
}

/** Nodes that only `root` needs, in any order; stops at values others read. */
function onlyFor(graph: Graph, root: ValueId, reader: NodeId): NodeId[] {
  const gone = new Set<NodeId>([reader]);
  const out: NodeId[] = [];
  const queue = [root];
  for (let v = queue.pop(); v !== undefined; v = queue.pop()) {
    const node = graph.producer(v);
    if (node === undefined || gone.has(node.id)) continue;
    const dead = node.outputs.every(
      (o) => o === null || (!graph.isOutput(o) && graph.users(o).every((u) => gone.has(u))),
    );
    if (!dead) continue;
    gone.add(node.id);
    out.push(node.id);
    queue.push(...nodeReads(node));
  }
  return out;
}

/** True when `from` is computed from `to`. */
function reaches(graph: Graph, from: ValueId, to: ValueId, inner: ReadonlySet<NodeId>): boolean {
  const queue = [from];
  const seen = new Set<ValueId>();
  for (let v = queue.pop(); v !== undefined; v = queue.pop()) {
    if (v === to) return true;
    const node = graph.producer(v);
    if (node === undefined || !inner.has(node.id)) continue;
    for (const r of nodeReads(node))
      if (!seen.has(r)) {
        seen.add(r);
        queue.push(r);
      }
  }
  return false;
}

/**
 * Additions of something to what it was computed from, with layers in between that nothing else needs. Bypasses with a
 * layer of their own are no branches: their stream changes its width.
 */
export function residualBranches(graph: Graph, shapes: InferredShapes): Branch[] {
  const out: Branch[] = [];
  for (const node of graph.nodes()) {
    if (node.op !== "Add" || node.domain !== "" || node.outputs[0] === null) continue;
    const [a, b] = node.inputs as [ValueId, ValueId];
    if (graph.constant(a) !== null || graph.constant(b) !== null || a === b) continue;
    for (const [stream, branch] of [
      [a, b],
      [b, a],
    ] as const) {
      const inner = onlyFor(graph, branch, node.id);
      const [p, q] = [shapes.shape(stream), shapes.shape(branch)];
      const same = p?.length === q?.length && p?.every((d, i) => equalDim(d, q![i]!)) === true;
      const set = new Set(inner);
      const layers = inner.some((id) => ["Conv", "MatMul", "Gemm"].includes(graph.node(id).op));
      if (!same || p === null || p.length < 3 || !layers || !reaches(graph, branch, stream, set)) continue;
      out.push({ node, stream, branch, axis: p.length === 4 ? 1 : p.length - 1, inner });
      break;
    }
  }
  return out;
}
