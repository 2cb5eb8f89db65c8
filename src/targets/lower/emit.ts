import type { DType } from "../../ir/dtype.ts";
import {
  attrFloat,
  attrInt,
  attrString,
  type Graph,
  intAttr,
  intsAttr,
  type Node,
  type ValueId,
} from "../../ir/graph.ts";
import type { InferredShapes } from "../../ir/infer.ts";
import type { PatchBuilder } from "../../ir/patch.ts";
import { f32Tensor, i64Tensor } from "../../ir/tensor.ts";
import type { Dim } from "../../ir/types.ts";
import { castTensor } from "../../runtime/kernels/cast.ts";
import type { Target } from "../target.ts";

/** Writes primitive operators in the form the model's opset wants; names derive from the node that is replaced. */
export class Emit {
  readonly graph: Graph;
  readonly node: Node;
  readonly shapes: InferredShapes;
  readonly patch: PatchBuilder;
  readonly opset: number;
  /** Target the operator is written for; `null` for none in particular. */
  readonly target: Target | null;

  constructor(parts: {
    graph: Graph;
    node: Node;
    shapes: InferredShapes;
    patch: PatchBuilder;
    opset: number;
    target?: Target | null;
  }) {
    this.graph = parts.graph;
    this.node = parts.node;
    this.shapes = parts.shapes;
    this.patch = parts.patch;
    this.opset = parts.opset;
    this.target = parts.target ?? null;
  }

  int(name: string, fallback: number): number {
    return attrInt(this.node, name) ?? fallback;
  }
  float(name: string, fallback: number): number {
    return attrFloat(this.node, name) ?? fallback;
  }
  str(name: string, fallback: string): string {
    return attrString(this.node, name) ?? fallback;
  }
  /** Input `i`, or `null` when it is left out. */
  input(i: number): ValueId | null {
    return this.node.inputs[i] ?? null;
  }
  shape(i: number): readonly Dim[] | null {
    const id = this.input(i);
    return id === null ? null : this.shapes.shape(id);
  }
  dtype(i: number): DType | null {
    const id = this.input(i);
    return id === null ? null : this.shapes.dtype(id);
  }

  op(
    op: string,
    inputs: readonly (ValueId | null)[],
    attrs: Parameters<PatchBuilder["node"]>[0]["attrs"] = {},
  ) {
    return this.patch.node({ op, name: `${this.node.name}/${op}`, inputs, attrs })[0];
  }
  ints(values: readonly number[]): ValueId {
    return this.patch.constant(i64Tensor(values), `${this.node.name}/ints`);
  }
  scalar(value: number, dtype: DType): ValueId {
    return this.patch.constant(castTensor(f32Tensor([value], []), dtype), `${this.node.name}/scalar`);
  }
  /** A constant of `dims` filled with one number. */
  full(value: number, dims: readonly number[], dtype: DType): ValueId {
    const count = dims.reduce((a, b) => a * b, 1);
    const t = f32Tensor(new Float32Array(count).fill(value), dims);
    return this.patch.constant(castTensor(t, dtype), `${this.node.name}/full`);
  }
  reshape(x: ValueId, dims: readonly number[]): ValueId {
    return this.op("Reshape", [x, this.ints(dims)]);
  }
  cast(x: ValueId, to: number): ValueId {
    return this.op("Cast", [x], { to: intAttr(to) });
  }
  transpose(x: ValueId, perm: readonly number[]): ValueId {
    return this.op("Transpose", [x], { perm: intsAttr(perm) });
  }
  /** Parts of the given lengths along an axis; lengths are an attribute up to opset 12 and an input from 13. */
  split(x: ValueId, lengths: readonly number[], axis: number): readonly ValueId[] {
    const late = this.opset >= 13;
    return this.patch.node({
      op: "Split",
      name: `${this.node.name}/Split`,
      inputs: late ? [x, this.ints(lengths)] : [x],
      attrs: { axis: intAttr(axis), ...(!late && { split: intsAttr(lengths) }) },
      outputs: lengths.length,
    });
  }
  /** One slice across an axis, which is dropped. */
  pick(x: ValueId, index: number, axis: number): ValueId {
    const at = this.patch.constant(i64Tensor([index], []), `${this.node.name}/index`);
    return this.op("Gather", [x, at], { axis: intAttr(axis) });
  }
  /** ReduceMean that keeps the axes; they are an attribute up to opset 17 and an input from 18. */
  mean(x: ValueId, axes: readonly number[]): ValueId {
    return this.opset >= 18
      ? this.op("ReduceMean", [x, this.ints(axes)])
      : this.op("ReduceMean", [x], { axes: intsAttr(axes) });
  }
  softmax(x: ValueId): ValueId {
    return this.op("Softmax", [x], { axis: intAttr(-1) });
  }
  unsqueeze(x: ValueId, axes: readonly number[]): ValueId {
    return this.opset >= 13
      ? this.op("Unsqueeze", [x, this.ints(axes)])
      : this.op("Unsqueeze", [x], { axes: intsAttr(axes) });
  }
}

/** The value that takes the place of the node's output, why the node stays, or `null` where it has its form already. */
export type Lowered = ValueId | { readonly why: string } | null;

/** Writes one operator in another spelling. */
export type Lowering = (e: Emit) => Lowered;
