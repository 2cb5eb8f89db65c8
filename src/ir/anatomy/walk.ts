import type { Node, NodeId, ValueId } from "../graph.ts";
import { type Flow, movesData } from "./flow.ts";
import type { Linear, Linears } from "./linear.ts";

/** Steps that keep a tensor's meaning: moving elements, type changes, factors and offsets that are constant. */
function isPlain(flow: Flow, node: Node, from: ValueId): boolean {
  if (node.domain !== "") return false;
  switch (node.op) {
    case "Identity":
    case "Cast":
    case "Dropout":
      return true;
    case "Mul":
    case "Div":
    case "Add":
    case "Sub":
      return node.inputs.every((i) => i === null || i === from || flow.isConstant(i));
    case "Einsum":
      return node.inputs.length === 1;
    case "Concat":
      return false;
    default:
      return movesData(node) && node.inputs[0] === from;
  }
}

/** The single data input of a plain step, or `null`. */
export function plainSource(flow: Flow, node: Node): ValueId | null {
  const candidates = node.inputs.filter((i): i is ValueId => i !== null && !flow.isConstant(i));
  const from = movesData(node) ? node.inputs[0] : candidates[0];
  if (from === null || from === undefined || flow.isConstant(from)) return null;
  return isPlain(flow, node, from) ? from : null;
}

/** Goes back through plain steps as far as it can, or to a value that `stop` names. */
export function plainRoot(flow: Flow, value: ValueId, stop: (v: ValueId) => boolean = () => false): ValueId {
  let at = value;
  for (;;) {
    if (stop(at)) return at;
    const node = flow.graph.producer(at);
    const from = node === undefined ? null : plainSource(flow, node);
    if (from === null) return at;
    at = from;
  }
}

/** What a search over plain steps forward reached. */
export interface Reach {
  readonly layers: readonly Linear[];
  /** Other nodes that read one of the values reached, with the value they read. */
  readonly ends: readonly { readonly node: Node; readonly value: ValueId }[];
  /** Values reached, the start included. */
  readonly values: readonly ValueId[];
  readonly nodes: readonly Node[];
}

/** Most values a search visits: structures are local, so more means it went astray. */
const MAX_VISITS = 256;

/** Follows a value forward through plain steps to the layers and other nodes that use it. */
export function forward(flow: Flow, linears: Linears, start: ValueId): Reach {
  const values: ValueId[] = [start];
  const layers = new Set<Linear>();
  const ends: { node: Node; value: ValueId }[] = [];
  const nodes = new Set<Node>();
  const seen = new Set<ValueId>(values);
  for (let i = 0; i < values.length && i < MAX_VISITS; i++) {
    const value = values[i]!;
    for (const node of flow.users(value)) {
      const layer = linears.of(node.id);
      if (layer !== undefined && layer.input === value) {
        layers.add(layer);
        continue;
      }
      if (!isPlain(flow, node, value)) {
        ends.push({ node, value });
        continue;
      }
      nodes.add(node);
      for (const out of node.outputs) {
        if (out === null || seen.has(out)) continue;
        seen.add(out);
        values.push(out);
      }
    }
  }
  return { layers: [...layers], ends, values, nodes: [...nodes] };
}

/**
 * Layers that a value is made from, going back through everything that is not a layer, as far as `through` allows.
 * Ordered as the operands are.
 */
export function layersBehind(
  flow: Flow,
  linears: Linears,
  value: ValueId,
  through: (node: Node) => boolean = () => true,
): { readonly layers: readonly Linear[]; readonly nodes: readonly Node[]; readonly complete: boolean } {
  const layers = new Set<Linear>();
  const nodes = new Set<Node>();
  const seen = new Set<ValueId>();
  let complete = true;
  const visit = (v: ValueId): void => {
    if (seen.has(v) || flow.mask(v) === 0) return;
    seen.add(v);
    if (seen.size > MAX_VISITS) {
      complete = false;
      return;
    }
    const layer = linears.making(v);
    if (layer !== undefined) {
      layers.add(layer);
      return;
    }
    const node = flow.graph.producer(v);
    if (node === undefined || !through(node)) {
      complete = false;
      return;
    }
    nodes.add(node);
    for (const input of node.inputs) if (input !== null) visit(input);
  };
  visit(value);
  return { layers: [...layers], nodes: [...nodes], complete };
}

/** Topological order by position, each once. */
export function ordered(flow: Flow, nodes: Iterable<Node | NodeId>): NodeId[] {
  const ids = new Set<NodeId>();
  for (const n of nodes) ids.add(typeof n === "number" ? n : n.id);
  return [...ids].sort((a, b) => flow.at(a) - flow.at(b));
}
