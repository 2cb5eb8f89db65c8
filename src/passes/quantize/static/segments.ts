import { attrInt, type Graph, type Node, type NodeId, type ValueId } from "../../../ir/graph.ts";
import type { InferredShapes } from "../../../ir/infer.ts";
import { hasTrait } from "../../../ir/ops/index.ts";

/** Nodes between a concatenation and the layer that are looked through. */
const REACH = 12;

function concatLengths(shapes: InferredShapes, node: Node): number[] | null {
  const lengths: number[] = [];
  for (const id of node.inputs) {
    const n = id === null ? null : shapes.shape(id)?.[1];
    if (typeof n !== "number") return null;
    lengths.push(n);
  }
  return lengths;
}

/**
 * Which source of a channel concatenation each channel comes from (the split shortcut of Q-Diffusion), looking through
 * norms and activations that keep channels in place. `null` when the value has one source.
 */
export function channelSources(
  graph: Graph,
  shapes: InferredShapes,
  value: ValueId,
  channels: number,
): Int32Array | null {
  let at: ValueId | null = value;
  for (let i = 0; i < REACH && at !== null; i++) {
    const node: Node | undefined = graph.producer(at);
    if (node === undefined) return null;
    if (node.op === "Concat" && attrInt(node, "axis") === 1) {
      const lengths = concatLengths(shapes, node);
      if (lengths === null || lengths.reduce((a, b) => a + b, 0) !== channels) return null;
      return Int32Array.from(lengths.flatMap((n, s) => new Array<number>(n).fill(s)));
    }
    const passes =
      hasTrait(node, "elementwise") || hasTrait(node, "normalization") || hasTrait(node, "moves-data");
    if (!passes) return null;
    at = node.inputs[0] ?? null;
  }
  return null;
}

/** A Split into even parts of a layer's result along its last axis, with nothing else reading it. */
export interface EvenSplit {
  readonly node: Node;
  readonly parts: number;
}

/** The even split behind a linear layer: then each part can be a product of its own and nothing is copied. */
export function splitAfter(graph: Graph, shapes: InferredShapes, value: ValueId): EvenSplit | null {
  const users: readonly NodeId[] = graph.users(value);
  const node = users.length === 1 ? graph.node(users[0]!) : undefined;
  if (node === undefined || node.op !== "Split" || node.domain !== "" || graph.isOutput(value)) return null;
  const rank = shapes.shape(value)?.length ?? null;
  const axis = attrInt(node, "axis") ?? 0;
  if (rank === null || (axis !== -1 && axis !== rank - 1)) return null;
  const lengths = node.outputs.map((o) => (o === null ? null : shapes.shape(o)?.at(-1)));
  const [first] = lengths;
  if (typeof first !== "number" || lengths.some((l) => l !== first)) return null;
  return { node, parts: lengths.length };
}
