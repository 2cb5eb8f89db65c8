import { applyPatch } from "./apply.ts";
import type { Patch } from "./patch.ts";
import type { Tensor } from "./tensor.ts";
import type { ValueType } from "./types.ts";

declare const brand: unique symbol;
export type NodeId = number & { readonly [brand]: "node" };
export type ValueId = number & { readonly [brand]: "value" };

/** Attribute value, one kind per `AttributeProto.AttributeType`. Integers are exact: bigint above 2^53. */
export type Attr =
  | { readonly kind: "int"; readonly value: number | bigint }
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "string"; readonly value: Uint8Array }
  | { readonly kind: "tensor"; readonly value: Tensor; readonly meta?: ProtoMeta }
  | { readonly kind: "sparse"; readonly value: SparseTensor }
  | { readonly kind: "graph"; readonly value: Graph }
  | { readonly kind: "type"; readonly value: ValueType; readonly meta?: ProtoMeta }
  | { readonly kind: "ints"; readonly value: readonly (number | bigint)[] }
  | { readonly kind: "floats"; readonly value: readonly number[] }
  | { readonly kind: "strings"; readonly value: readonly Uint8Array[] }
  | { readonly kind: "tensors"; readonly value: readonly Tensor[]; readonly metas?: readonly ProtoMeta[] }
  | { readonly kind: "sparses"; readonly value: readonly SparseTensor[] }
  | { readonly kind: "graphs"; readonly value: readonly Graph[] }
  | { readonly kind: "types"; readonly value: readonly ValueType[]; readonly metas?: readonly ProtoMeta[] }
  /** `ref_attr_name` inside a function body: the value comes from the call. `type` is the AttributeType code. */
  | { readonly kind: "ref"; readonly name: string; readonly type: number };

/** COO sparse tensor: `indices` is i64 [nnz] or [nnz, rank]. */
export interface SparseTensor {
  readonly values: Tensor;
  readonly indices: Tensor;
  readonly dims: readonly number[];
  readonly meta?: ProtoMeta;
}

/**
 * What the ONNX reader keeps so that a read-write round trip loses nothing and no pass needs to know: doc strings,
 * metadata_props, unknown fields (raw wire bytes), how a tensor was stored. Opaque outside `ir/onnx`.
 */
export interface ProtoMeta {
  readonly [key: string]: unknown;
}

export interface Value {
  readonly id: ValueId;
  /** Unique in its graph. Display and graph signature only; passes work on ids. */
  readonly name: string;
  /** Declared type: of a graph input or output or value_info. Inferred types are facts (`facts.ts`). */
  readonly type: ValueType | null;
  /** Node that makes it; `null` for graph inputs and constants. */
  readonly producer: NodeId | null;
  /** The constant itself, for initializers. A value may be both a graph input and an initializer (old IR versions). */
  readonly init: Tensor | null;
  /** The constant, when it is a sparse_initializer. */
  readonly sparse?: SparseTensor;
  readonly meta?: ProtoMeta;
}

export interface Node {
  readonly id: NodeId;
  readonly name: string;
  /** `""` is the ONNX standard domain (`ai.onnx` is read as `""`). */
  readonly domain: string;
  readonly op: string;
  /** IR 10 function overload; usually `""`. */
  readonly overload: string;
  readonly inputs: readonly (ValueId | null)[];
  readonly outputs: readonly (ValueId | null)[];
  readonly attrs: ReadonlyMap<string, Attr>;
  readonly meta?: ProtoMeta;
}

/** Hands out ids that are unique in a model, so that a subgraph can name values of the graphs around it. */
export class IdSource {
  #next = 0;
  node(): NodeId {
    return this.#next++ as NodeId;
  }
  value(): ValueId {
    return this.#next++ as ValueId;
  }
  /** A source that goes on from here on its own, for a copy of the graph. */
  fork(): IdSource {
    const copy = new IdSource();
    copy.#next = this.#next;
    return copy;
  }
}

/**
 * A compute graph in SSA form. Only {@link Graph.apply} (and, while a graph is being built, {@link GraphBuilder})
 * changes it. Node order is always topological.
 */
export class Graph {
  readonly ids: IdSource;
  readonly name: string;
  readonly meta: ProtoMeta;
  /** Grows by one with every applied patch; facts are keyed by it. */
  version = 0;
  /** @internal */ readonly _nodes: Map<NodeId, Node>;
  /** @internal */ readonly _values: Map<ValueId, Value>;
  /** @internal */ _inputs: readonly ValueId[];
  /** @internal */ _outputs: readonly ValueId[];
  #users: Map<ValueId, NodeId[]> | null = null;
  #usersVersion = -1;

  constructor(parts: {
    ids: IdSource;
    name: string;
    meta?: ProtoMeta;
    nodes: Iterable<Node>;
    values: Iterable<Value>;
    inputs: readonly ValueId[];
    outputs: readonly ValueId[];
  }) {
    this.ids = parts.ids;
    this.name = parts.name;
    this.meta = parts.meta ?? {};
    this._nodes = new Map([...parts.nodes].map((n) => [n.id, n]));
    this._values = new Map([...parts.values].map((v) => [v.id, v]));
    this._inputs = parts.inputs;
    this._outputs = parts.outputs;
  }

  get inputs(): readonly ValueId[] {
    return this._inputs;
  }
  get outputs(): readonly ValueId[] {
    return this._outputs;
  }
  get nodeCount(): number {
    return this._nodes.size;
  }

  /** Nodes in topological order. */
  nodes(): IterableIterator<Node> {
    return this._nodes.values();
  }
  values(): IterableIterator<Value> {
    return this._values.values();
  }
  node(id: NodeId): Node {
    const n = this._nodes.get(id);
    if (n === undefined) throw new Error(`graph ${this.name} has no node ${id}`);
    return n;
  }
  hasNode(id: NodeId): boolean {
    return this._nodes.has(id);
  }
  /** A value of this graph. Captured outer values are not found here: see {@link Graph.find}. */
  value(id: ValueId): Value {
    const v = this._values.get(id);
    if (v === undefined) throw new Error(`graph ${this.name} has no value ${id}`);
    return v;
  }
  /** Like {@link Graph.value}, but `undefined` for values of enclosing graphs. */
  find(id: ValueId): Value | undefined {
    return this._values.get(id);
  }
  /** The node that makes `id`, or `undefined` for inputs, constants and captured values. */
  producer(id: ValueId | null | undefined): Node | undefined {
    if (id === null || id === undefined) return undefined;
    const p = this._values.get(id)?.producer;
    return p === null || p === undefined ? undefined : this._nodes.get(p);
  }
  /** The constant behind `id`, or `null`. An initializer that is also a graph input is not constant. */
  constant(id: ValueId | null | undefined): Tensor | null {
    if (id === null || id === undefined) return null;
    const v = this._values.get(id);
    if (v === undefined || v.init === null || this._inputs.includes(id)) return null;
    return v.init;
  }
  /** Nodes that read `id`, once each, in topological order; nodes whose subgraphs capture it count too. */
  users(id: ValueId): readonly NodeId[] {
    if (this.#users === null || this.#usersVersion !== this.version) {
      const users = new Map<ValueId, NodeId[]>();
      for (const node of this._nodes.values()) {
        for (const input of new Set(nodeReads(node))) {
          const list = users.get(input);
          if (list === undefined) users.set(input, [node.id]);
          else list.push(node.id);
        }
      }
      this.#users = users;
      this.#usersVersion = this.version;
    }
    return this.#users.get(id) ?? [];
  }
  isOutput(id: ValueId): boolean {
    return this._outputs.includes(id);
  }

  /** Checks the whole patch, then applies it; on failure the graph is unchanged and PATCH_INVALID is thrown. */
  apply(patch: Patch): void {
    applyPatch(this, patch);
  }
}

/** Every value a node reads: inputs, then values its subgraphs capture from outside themselves. */
export function nodeReads(node: Node): ValueId[] {
  const reads: ValueId[] = node.inputs.filter((i): i is ValueId => i !== null);
  for (const g of subgraphs(node)) reads.push(...captures(g));
  return reads;
}

/** Graph-valued attributes of a node. */
export function subgraphs(node: Node): readonly Graph[] {
  const out: Graph[] = [];
  for (const a of node.attrs.values()) {
    if (a.kind === "graph") out.push(a.value);
    else if (a.kind === "graphs") out.push(...a.value);
  }
  return out;
}

/** Values that a subgraph reads but does not define. */
export function captures(graph: Graph): ValueId[] {
  const out = new Set<ValueId>();
  for (const node of graph.nodes())
    for (const r of nodeReads(node)) if (graph.find(r) === undefined) out.add(r);
  for (const o of graph.outputs) if (graph.find(o) === undefined) out.add(o);
  return [...out];
}

/** A function of the model (`FunctionProto`): a graph whose inputs and outputs are the formal parameters. */
export interface ModelFunction {
  readonly domain: string;
  readonly name: string;
  readonly overload: string;
  readonly body: Graph;
  /** Attribute parameters without default. */
  readonly attributes: readonly string[];
  /** Attribute parameters with default. */
  readonly defaults: ReadonlyMap<string, Attr>;
  readonly opsets: ReadonlyMap<string, number>;
  readonly meta?: ProtoMeta;
}

/**
 * Timesteps in buckets that differ in constants alone. The graph looks these up by the bucket, so it serves every
 * timestep; with the bucket fixed (`ir/buckets.ts`) they are plain constants.
 */
export interface TimeBuckets {
  /** Graph input with the timesteps. */
  readonly input: ValueId;
  /** The bucket of each of them, int64 of rank 1: everything that differs is computed from it. */
  readonly index: ValueId;
  /** Ascending: bucket k holds `bounds[k - 1] <= t < bounds[k]`, the outer ones everything beyond. */
  readonly bounds: readonly number[];
}

/** A whole model. `opsets` maps domain (`""` = ONNX) to version. */
export interface Model {
  graph: Graph;
  functions: readonly ModelFunction[];
  irVersion: number;
  opsets: ReadonlyMap<string, number>;
  producer: { readonly name: string; readonly version: string };
  /** File it was read from, for messages and for resolving external data; `null` for generated models. */
  path: string | null;
  meta: ProtoMeta;
  /** Set on a model that is to be written as one graph per bucket of timesteps. */
  buckets?: TimeBuckets;
}

/** `Op`, or `domain:Op` outside of the standard domain. */
export function opKey(node: Node): string {
  return node.domain === "" ? node.op : `${node.domain}:${node.op}`;
}

/** Attribute readers; each returns `undefined` when absent and throws when the kind is wrong. */
export function attrInt(node: Node, name: string): number | undefined {
  const a = node.attrs.get(name);
  if (a === undefined) return undefined;
  if (a.kind !== "int") throw new Error(`${node.op}.${name} is ${a.kind}, expected int`);
  return Number(a.value);
}
export function attrFloat(node: Node, name: string): number | undefined {
  const a = node.attrs.get(name);
  if (a === undefined) return undefined;
  if (a.kind !== "float") throw new Error(`${node.op}.${name} is ${a.kind}, expected float`);
  return a.value;
}
export function attrInts(node: Node, name: string): readonly number[] | undefined {
  const a = node.attrs.get(name);
  if (a === undefined) return undefined;
  if (a.kind !== "ints") throw new Error(`${node.op}.${name} is ${a.kind}, expected ints`);
  return a.value.map(Number);
}
export function attrString(node: Node, name: string): string | undefined {
  const a = node.attrs.get(name);
  if (a === undefined) return undefined;
  if (a.kind !== "string") throw new Error(`${node.op}.${name} is ${a.kind}, expected string`);
  return new TextDecoder().decode(a.value);
}

/** Plain JS values to attributes: integer numbers become `int`, use {@link floatAttr} for floats. */
export function intAttr(value: number | bigint): Attr {
  return { kind: "int", value };
}
export function floatAttr(value: number): Attr {
  return { kind: "float", value: Math.fround(value) };
}
export function intsAttr(value: readonly number[]): Attr {
  return { kind: "ints", value };
}
export function stringAttr(value: string): Attr {
  return { kind: "string", value: new TextEncoder().encode(value) };
}
