import type { Graph, Node, NodeId, ValueId } from "../../ir/graph.ts";
import { subgraphs } from "../../ir/graph.ts";
import { hasTrait, opSpec } from "../../ir/ops/index.ts";
import { VIEWS } from "./kind.ts";

/** What is left of a graph once a runtime has loaded it. */
export interface Loaded {
  /** Nodes that do not run. */
  readonly absent: ReadonlySet<NodeId>;
  /** Bytes of values that kernels read or write in another form than the graph says. */
  readonly bytes: ReadonlyMap<ValueId, number>;
  /** Values that are constants by then. */
  readonly constants: ReadonlySet<ValueId>;
}

const isConversion = ({ op }: Node): boolean => op === "DequantizeLinear" || op === "QuantizeLinear";

/** Whether it only changes the order or the shape of what it reads. */
const isLayout = ({ op }: Node): boolean => VIEWS.has(op) || op === "Transpose";

/**
 * Nodes that depend on constants alone run once, when the model is loaded. Where the compiler takes QuantizeLinear and
 * DequantizeLinear for types (`typed`) they do not run either: what they stand between is read and written in the narrow
 * type, weights with their scales. `size` gives the bytes of a value as the graph has it.
 */
export function loaded(
  graph: Graph,
  options: { readonly typed: boolean; readonly size: (id: ValueId) => number | null },
): Loaded {
  const { typed, size } = options;
  const absent = new Set<NodeId>();
  const bytes = new Map<ValueId, number>();
  const known = new Set<ValueId>();
  for (const v of graph.values()) if (graph.constant(v.id) !== null) known.add(v.id);
  const take = (id: ValueId): number => bytes.get(id) ?? size(id) ?? 0;
  for (const node of graph.nodes()) {
    const inputs = node.inputs.filter((i) => i !== null);
    const constant = inputs.every((i) => known.has(i));
    const [out] = node.outputs;
    if (isConversion(node)) {
      if (!typed) continue;
      absent.add(node.id);
      if (node.op === "QuantizeLinear" || out === null || out === undefined) continue;
      bytes.set(
        out,
        inputs.reduce((n, i) => n + take(i), 0),
      );
      if (constant) known.add(out);
      continue;
    }
    const kept = hasTrait(node, "nondeterministic") || subgraphs(node).length > 0;
    if (!constant || kept || opSpec(node.domain, node.op) === undefined) continue;
    absent.add(node.id);
    for (const o of node.outputs) if (o !== null) known.add(o);
    const narrow = inputs[0] === undefined ? undefined : bytes.get(inputs[0]);
    if (narrow !== undefined && isLayout(node) && out !== null && out !== undefined) bytes.set(out, narrow);
  }
  if (typed) narrowResults(graph, bytes, take);
  return { absent, bytes, constants: known };
}

/** What only QuantizeLinear reads is written in its type. */
function narrowResults(graph: Graph, bytes: Map<ValueId, number>, take: (id: ValueId) => number): void {
  for (const node of graph.nodes())
    for (const o of node.outputs) {
      if (o === null || bytes.has(o) || graph.isOutput(o)) continue;
      const readers = graph.users(o).map((id) => graph.node(id));
      if (readers.length === 0 || readers.some((r) => r.op !== "QuantizeLinear" || r.inputs[0] !== o))
        continue;
      bytes.set(
        o,
        readers.reduce((n, r) => n + take(r.outputs[0]!), 0),
      );
    }
}
