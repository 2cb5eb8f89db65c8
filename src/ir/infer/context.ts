import type { DType } from "../dtype.ts";
import type { Attr, Graph, Node } from "../graph.ts";
import type { InferContext, ValueFact } from "../ops/spec.ts";
import type { Tensor } from "../tensor.ts";
import type { Dim, Shape, ValueType } from "../types.ts";

/** What the context needs of the inference around it. */
export interface Surroundings {
  fact(input: number): ValueFact | null;
  constant(input: number): Tensor | null;
  /** Attribute of the node, with references to function attributes followed. */
  attr(name: string): Attr | undefined;
  /** Text that makes unknowns of this node unique in the model. */
  unknownPrefix(): string;
  subgraph(graph: Graph, inputs: readonly (ValueType | null)[]): readonly (ValueType | null)[];
  invalid(problem: string): void;
}

/** Most elements of a tensor whose values are followed. */
export const MAX_DATA = 1024;

/** One context serves all nodes of an inference in turn; `begin` points it at the next. */
export class NodeContext implements InferContext {
  node: Node;
  opset = 0;
  readonly types: (ValueType | null)[] = [];
  readonly values: (readonly Dim[] | null)[] = [];
  failed = false;
  readonly #around: Surroundings;
  #fresh = 0;

  constructor(node: Node, opset: number, around: Surroundings) {
    this.node = node;
    this.opset = opset;
    this.#around = around;
  }

  type(i: number): ValueType | null {
    return this.#around.fact(i)?.type ?? null;
  }
  dtype(i: number): DType | null {
    const t = this.type(i);
    return t?.kind === "tensor" ? t.dtype : null;
  }
  shape(i: number): readonly Dim[] | null {
    const t = this.type(i);
    return t?.kind === "tensor" ? t.shape : null;
  }
  data(i: number): readonly Dim[] | null {
    return this.#around.fact(i)?.data ?? null;
  }
  ints(i: number): readonly number[] | null {
    const data = this.data(i);
    return data?.every((d) => typeof d === "number") ? (data as readonly number[]) : null;
  }
  constant(i: number): Tensor | null {
    return this.#around.constant(i);
  }
  attr(name: string): Attr | undefined {
    return this.#around.attr(name);
  }
  int(name: string, fallback: number): number {
    const a = this.attr(name);
    if (a === undefined) return fallback;
    return a.kind === "int" ? Number(a.value) : this.#wrongKind(name, a, "int", fallback);
  }
  float(name: string, fallback: number): number {
    const a = this.attr(name);
    if (a === undefined) return fallback;
    if (a.kind === "int") return Number(a.value);
    return a.kind === "float" ? a.value : this.#wrongKind(name, a, "float", fallback);
  }
  ints_(name: string): readonly number[] | undefined {
    const a = this.attr(name);
    if (a === undefined) return undefined;
    return a.kind === "ints" ? a.value.map(Number) : this.#wrongKind(name, a, "ints", undefined);
  }
  str(name: string, fallback: string): string {
    const a = this.attr(name);
    if (a === undefined) return fallback;
    return a.kind === "string"
      ? new TextDecoder().decode(a.value)
      : this.#wrongKind(name, a, "string", fallback);
  }
  #wrongKind<T>(name: string, a: Attr, want: string, fallback: T): T {
    this.invalid(`attribute ${name} is ${a.kind}, expected ${want}`);
    return fallback;
  }
  fresh(): Dim {
    return `?${this.#around.unknownPrefix()}.${this.#fresh++}`;
  }
  subgraph(graph: Graph, inputs: readonly (ValueType | null)[]): readonly (ValueType | null)[] {
    return this.#around.subgraph(graph, inputs);
  }
  set(i: number, dtype: DType | null, shape: Shape): void {
    this.types[i] = dtype === null ? null : { kind: "tensor", dtype, shape };
  }
  setType(i: number, type: ValueType | null): void {
    this.types[i] = type;
  }
  setData(i: number, data: readonly Dim[]): void {
    if (data.length <= MAX_DATA) this.values[i] = data;
  }
  invalid(problem: string): void {
    // The first problem of a node is the one to read; the rest mostly follow from it.
    if (!this.failed) this.#around.invalid(problem);
    this.failed = true;
  }
}
