import type { Dim, Shape, ValueType } from "./types.ts";
import type { ValueId } from "./graph.ts";
import type { DType } from "./dtype.ts";

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
