import type { Diagnostic } from "../../diagnostics/index.ts";
import { numbersOf } from "../../ir/constants.ts";
import type { DType } from "../../ir/dtype.ts";
import {
  type Attr,
  captures,
  type Graph,
  type Model,
  type Node,
  subgraphs,
  type ValueId,
} from "../../ir/graph.ts";
import { type InferredShapes, inferShapes } from "../../ir/infer.ts";
import { hasTrait } from "../../ir/ops/index.ts";
import { constantNode } from "../../ir/pattern/constant.ts";
import type { Tensor } from "../../ir/tensor.ts";
import type { Shape } from "../../ir/types.ts";
import type { Constants } from "./constants.ts";

/** What rules may look at: one graph with facts, and short ways to ask. */
export interface CheckView {
  readonly model: Model;
  readonly graph: Graph;
  /** Version of the standard domain. */
  readonly opset: number;
  readonly shapes: InferredShapes;
  /** Nodes of the main graph that run, in order. */
  readonly nodes: readonly Node[];
  /** Nodes whose result is known when the model loads. */
  readonly folded: ReadonlySet<Node>;
  /** Largest magnitude of values over a trajectory, by name, where that was measured. */
  readonly ranges: ReadonlyMap<string, number>;
  /** Keys of external data by tensor, besides location, offset and length. */
  readonly externalKeys: ReadonlyMap<string, readonly string[]>;
  /** Why the file could not be read at all. */
  readonly refused: Diagnostic | null;
  producer(id: ValueId | null | undefined): Node | undefined;
  /** Nodes that read a value, once each. */
  readers(id: ValueId | null | undefined): readonly Node[];
  /** The constant behind a value: an initializer or a Constant node. */
  constant(id: ValueId | null | undefined): Tensor | null;
  /** Whether a value is known when the model loads. */
  isKnown(id: ValueId | null | undefined): boolean;
  /** Elements of a constant, where they were read or are at hand. */
  numbers(id: ValueId | null | undefined): ArrayLike<number> | null;
  dtype(id: ValueId | null | undefined): DType | null;
  shape(id: ValueId | null | undefined): Shape;
  /** The one attribute, whatever its kind. */
  attr(node: Node, name: string): Attr | undefined;
  int(node: Node, name: string, fallback: number): number;
  text(node: Node, name: string, fallback: string): string;
}

/** What a view is made from. */
export interface ViewOptions {
  readonly constants: Constants;
  readonly bindings?: Readonly<Record<string, number>>;
  readonly ranges?: ReadonlyMap<string, number>;
  readonly externalKeys?: ReadonlyMap<string, readonly string[]>;
  readonly refused?: Diagnostic;
}

/** Conversions of quantization are kept when the model loads; a constant behind one is not a float constant. */
const isPair = (node: Node): boolean => node.op === "DequantizeLinear" || node.op === "QuantizeLinear";

/** Nodes that are computed when the model loads: constants all the way, or shapes of which every length is known. */
function foldedNodes(graph: Graph, shapes: InferredShapes): Set<Node> {
  const folded = new Set<Node>();
  const known = (id: ValueId | null): boolean => {
    if (id === null || graph.constant(id) !== null) return true;
    const data = shapes.data(id);
    if (data?.every((d) => typeof d === "number")) return true;
    const from = graph.producer(id);
    return from !== undefined && folded.has(from);
  };
  for (const node of graph.nodes()) {
    if (isPair(node) || hasTrait(node, "nondeterministic")) continue;
    if (node.outputs.length > 0 && node.outputs.every((o) => o !== null && known(o))) folded.add(node);
    else if (node.inputs.every(known) && subgraphs(node).every((g) => captures(g).length === 0))
      folded.add(node);
  }
  return folded;
}

/** A view of a model's main graph. */
export function makeView(model: Model, options: ViewOptions): CheckView {
  const { graph } = model;
  const shapes = inferShapes(model, { bindings: options.bindings ?? {} });
  const folded = foldedNodes(graph, shapes);
  const constant = (id: ValueId | null | undefined): Tensor | null => {
    const init = graph.constant(id);
    if (init !== null) return init;
    const from = graph.producer(id);
    return from?.op === "Constant" && from.domain === "" ? constantNode(from) : null;
  };
  return {
    model,
    graph,
    opset: model.opsets.get("") ?? 1,
    shapes,
    folded,
    nodes: [...graph.nodes()].filter((n) => !folded.has(n)),
    ranges: options.ranges ?? new Map(),
    externalKeys: options.externalKeys ?? new Map(),
    refused: options.refused ?? null,
    producer: (id) => graph.producer(id),
    readers: (id) => (id === null || id === undefined ? [] : graph.users(id).map((n) => graph.node(n))),
    constant,
    isKnown: (id) => {
      if (id === null || id === undefined || constant(id) !== null) return true;
      const from = graph.producer(id);
      return from !== undefined && folded.has(from);
    },
    numbers: (id) => {
      if (id === null || id === undefined) return null;
      return options.constants.get(id) ?? numbersOf(constant(id));
    },
    dtype: (id) =>
      id === null || id === undefined ? null : (shapes.dtype(id) ?? graph.constant(id)?.dtype ?? null),
    shape: (id) =>
      id === null || id === undefined ? null : (shapes.shape(id) ?? graph.constant(id)?.dims ?? null),
    attr: (node, name) => node.attrs.get(name),
    int: (node, name, fallback) => {
      const a = node.attrs.get(name);
      return a?.kind === "int" ? Number(a.value) : fallback;
    },
    text: (node, name, fallback) => {
      const a = node.attrs.get(name);
      return a?.kind === "string" ? new TextDecoder().decode(a.value) : fallback;
    },
  };
}
