import type { Diagnostic } from "../diagnostics/index.ts";
import type { DType } from "./dtype.ts";
import type { Graph, Model, ValueId } from "./graph.ts";
import { Engine } from "./infer/engine.ts";
import { collectSymbols } from "./infer/merge.ts";
import type { Dim, Shape, ValueType } from "./types.ts";

/** Result of shape inference over one graph (subgraphs included). */
export interface InferredShapes {
  type(id: ValueId): ValueType | null;
  dtype(id: ValueId): DType | null;
  /** Shape of a dense tensor of known rank, else `null`. */
  shape(id: ValueId): Shape;
  /** Shape when every dim is a number. */
  staticShape(id: ValueId): readonly number[] | null;
  /** Propagated data of small integer tensors. */
  data(id: ValueId): readonly Dim[] | null;
}

/** What {@link inferShapes} takes besides the model. */
export interface InferOptions {
  /** Graph to infer; the model's main graph unless said. */
  readonly graph?: Graph;
  /** Types of graph inputs that replace the declared ones. */
  readonly inputTypes?: ReadonlyMap<ValueId, ValueType>;
  /** Lengths for symbols of the input types. */
  readonly bindings?: Readonly<Record<string, number>>;
}

/** Inferred types plus what contradicts the operators' definitions or the declared types. */
export interface InferenceResult extends InferredShapes {
  readonly diagnostics: readonly Diagnostic[];
}

/**
 * Infers the type of every value from the graph inputs on. Never throws on malformed nodes: their outputs fall back to
 * the declared types, and a SHAPE_INVALID diagnostic says why. Where declared and inferred types contradict each
 * other, TYPE_CONFLICT is reported and the inferred one is kept. Unknown lengths are symbols starting with `?` that
 * depend on the graph only.
 */
export function inferShapes(model: Model, options: InferOptions = {}): InferenceResult {
  const engine = new Engine(model, options);
  engine.run(options.graph ?? model.graph);
  const type = (id: ValueId): ValueType | null => engine.facts.get(id)?.type ?? null;
  const shape = (id: ValueId): Shape => {
    const t = type(id);
    return t?.kind === "tensor" ? t.shape : null;
  };
  return {
    diagnostics: engine.diagnostics,
    type,
    shape,
    dtype: (id) => {
      const t = type(id);
      return t?.kind === "tensor" ? t.dtype : null;
    },
    staticShape: (id) => {
      const s = shape(id);
      return s?.every((d) => typeof d === "number") ? (s as readonly number[]) : null;
    },
    data: (id) => engine.data(id),
  };
}

/** Names of the symbols in the types of the graph inputs, sorted: what a user can bind. */
export function inputSymbols(graph: Graph): readonly string[] {
  const names = new Set<string>();
  for (const id of graph.inputs) {
    const type = graph.value(id).type;
    if (type !== null) collectSymbols(type, names);
  }
  return [...names].sort();
}
