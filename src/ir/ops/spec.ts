import type { Attr, Graph, Node } from "../graph.ts";
import type { Tensor } from "../tensor.ts";
import type { Dim, Shape, ValueType } from "../types.ts";

/**
 * What shape inference knows about one value. `data` is the value itself for small integer tensors that steer shapes
 * (outputs of Shape, Gather, Concat ...): row-major elements, each a number or a symbolic dim; `null` when unknown.
 */
export interface ValueFact {
  readonly type: ValueType | null;
  readonly data: readonly Dim[] | null;
}

/** What an op's shape rule sees and does. Inputs that are absent or unknown read as `null`. */
export interface InferContext {
  readonly node: Node;
  /** Version of the node's domain that the model imports. */
  readonly opset: number;
  /** Type of input `i`. */
  type(i: number): ValueType | null;
  /** Dtype of input `i` when it is a dense tensor. */
  dtype(i: number): import("../dtype.ts").DType | null;
  /** Shape of input `i` when it is a dense tensor of known rank. */
  shape(i: number): readonly Dim[] | null;
  /** Propagated or constant integer data of input `i`. */
  data(i: number): readonly Dim[] | null;
  /** Like {@link data}, only when every element is a number. */
  ints(i: number): readonly number[] | null;
  /** The initializer behind input `i`. */
  constant(i: number): Tensor | null;
  int(attr: string, fallback: number): number;
  float(attr: string, fallback: number): number;
  ints_(attr: string): readonly number[] | undefined;
  str(attr: string, fallback: string): string;
  attr(name: string): Attr | undefined;
  /** A new unknown dim. The symbol depends only on the output it is used for, so inference is deterministic. */
  fresh(): Dim;
  /** Infers a subgraph with the given input types and returns its output types. */
  subgraph(graph: Graph, inputs: readonly (ValueType | null)[]): readonly (ValueType | null)[];
  /** Sets output `i` to a dense tensor. */
  set(i: number, dtype: import("../dtype.ts").DType | null, shape: Shape): void;
  /** Sets output `i` to any type. */
  setType(i: number, type: ValueType | null): void;
  /** Sets the propagated data of output `i`. */
  setData(i: number, data: readonly Dim[]): void;
  /** Reports that the node contradicts the op's definition (SHAPE_INVALID); inference goes on with unknown outputs. */
  invalid(problem: string): void;
}

/** Sizes a cost rule sees: shapes with every dim a number. */
export interface CostContext {
  readonly node: Node;
  readonly inputs: readonly (readonly number[] | null)[];
  readonly outputs: readonly (readonly number[] | null)[];
  int(attr: string, fallback: number): number;
  ints_(attr: string): readonly number[] | undefined;
}

/**
 * The trainable weight of a linear-like node and the meaning of its axes. For Conv: out 0, reduce [1,2,3]; for
 * MatMul B[K,N]: out 1, reduce [0].
 */
export interface WeightRole {
  /** Input index of the weight. */
  readonly input: number;
  /** Axis of output channels. */
  readonly outAxis: number;
  /** Axis of input channels. */
  readonly inAxis: number;
  /** Axes summed over, input channel first. */
  readonly reduceAxes: readonly number[];
  /** Input index of the activation. */
  readonly activation: number;
  /** Input index of the bias; `null` when the op has none. */
  readonly bias: number | null;
  readonly groups: number;
}

export type OpTrait =
  /** Output elements are input elements in another place: quantization parameters and dtypes pass through. */
  | "moves-data"
  /** Output[i] depends on input[i] only (with broadcasting). */
  | "elementwise"
  /** Same inputs may give other outputs (RandomNormal, Dropout in training): never folded, merged or reordered. */
  | "nondeterministic"
  /** Reduces over axes; sums want fp32. */
  | "reduction"
  /** Normalisation over a group of elements: parameters stay float. */
  | "normalization"
  /** Swapping the inputs gives the same result. */
  | "commutative"
  /** Carries subgraphs. */
  | "control-flow";

/** Everything passes may ask about an operator. One entry per operator; adding one makes every pass know it. */
export interface OpSpec {
  readonly op: string;
  readonly domain: string;
  /** Opset versions in which the operator's definition changed, ascending; the first is the one that added it. */
  readonly versions: readonly number[];
  /** Inclusive bounds over all versions. `max` is `Infinity` for variadic ones. */
  readonly inputs: { readonly min: number; readonly max: number };
  readonly outputs: { readonly min: number; readonly max: number };
  readonly traits?: readonly OpTrait[];
  /** Sets output types; an op without a rule leaves its outputs unknown. */
  infer?(ctx: InferContext): void;
  /** Floating-point operations for fully known shapes (a multiply-add is 2). Default: one per output element for
   * elementwise ops, 0 for data movement. Bytes follow from shapes and dtypes for every op. */
  flops?(ctx: CostContext): number;
  /** Weight role of this node, or `null`; the caller checks that the weight is a constant. */
  weight?(node: Node, rank: (input: number) => number | null): WeightRole | null;
  /** Inputs that only steer shapes (Reshape's target, Slice's starts): kept in int64 and out of quantization. */
  readonly shapeInputs?: readonly number[];
  /** Inputs whose constant no other node may share: onnxruntime replaces it for the node alone and fails on the second. */
  readonly ownConstants?: readonly number[];
}
