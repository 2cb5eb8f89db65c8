import type { DType } from "./dtype.ts";
import {
  type Attr,
  Graph,
  IdSource,
  intAttr,
  type Model,
  type ModelFunction,
  type Node,
  type NodeId,
  type SparseTensor,
  stringAttr,
  type Value,
  type ValueId,
} from "./graph.ts";
import type { Tensor } from "./tensor.ts";
import { type Shape, tensorType, type ValueType } from "./types.ts";

/**
 * What an attribute may be given as: an {@link Attr}, or a plain value. Integers become `int`, other numbers `float`,
 * number lists `ints` when every element is an integer and `floats` otherwise; use `floatAttr(1)` for a whole float.
 */
export type AttrInput =
  | Attr
  | number
  | bigint
  | string
  | Graph
  | Tensor
  | readonly number[]
  | readonly string[]
  | readonly Graph[];

/** Options of a node made by {@link GraphBuilder.node}. */
export interface NodeOptions {
  readonly domain?: string;
  readonly overload?: string;
  /** Node name; `<op>_<n>` unless said. */
  readonly name?: string;
  /** Output names; `""` is an output left out. Overrides `outputs`. */
  readonly outputNames?: readonly string[];
}

const utf8 = new TextEncoder();

function isList(value: AttrInput): value is readonly number[] | readonly string[] | readonly Graph[] {
  return Array.isArray(value);
}

/** Plain JS values to {@link Attr}; see {@link AttrInput}. */
function toAttr(value: AttrInput): Attr {
  if (typeof value === "number")
    return Number.isInteger(value) ? intAttr(value) : { kind: "float", value: Math.fround(value) };
  if (typeof value === "bigint") return intAttr(value);
  if (typeof value === "string") return stringAttr(value);
  if (value instanceof Graph) return { kind: "graph", value };
  if (isList(value)) {
    if (value.every((v) => typeof v === "string"))
      return value.length === 0
        ? { kind: "ints", value: [] }
        : { kind: "strings", value: (value as readonly string[]).map((s) => utf8.encode(s)) };
    if (value.every((v) => v instanceof Graph)) return { kind: "graphs", value: value as readonly Graph[] };
    const numbers = value as readonly number[];
    return numbers.every((v) => Number.isInteger(v))
      ? { kind: "ints", value: numbers }
      : { kind: "floats", value: numbers.map(Math.fround) };
  }
  return "source" in value ? { kind: "tensor", value } : value;
}

/** Builds one graph by hand: for tests, passes that emit whole subgraphs, and small models handed to the runtime. */
export class GraphBuilder {
  readonly ids: IdSource;
  readonly #name: string;
  readonly #nodes: Node[] = [];
  readonly #values = new Map<ValueId, Value>();
  readonly #names = new Set<string>();
  readonly #inputs: ValueId[] = [];
  readonly #outputs: ValueId[] = [];

  constructor(ids: IdSource, name: string) {
    this.ids = ids;
    this.#name = name;
  }

  #add(value: Value): ValueId {
    if (this.#names.has(value.name)) throw new Error(`value name "${value.name}" is taken`);
    this.#names.add(value.name);
    this.#values.set(value.id, value);
    return value.id;
  }

  #free(base: string): string {
    let name = base;
    for (let k = 1; this.#names.has(name); k++) name = `${base}_${k}`;
    return name;
  }

  /** Declares a graph input that is a dense tensor. */
  input(name: string, dtype: DType, shape: Shape): ValueId {
    return this.inputOf(name, tensorType(dtype, shape));
  }

  /** Declares a graph input of any type; `null` is untyped (function parameters, some subgraph inputs). */
  inputOf(name: string, type: ValueType | null, init: Tensor | null = null): ValueId {
    const id = this.#add({ id: this.ids.value(), name, type, producer: null, init });
    this.#inputs.push(id);
    return id;
  }

  /** Adds an initializer. */
  constant(tensor: Tensor, name = "const"): ValueId {
    return this.#add({
      id: this.ids.value(),
      name: this.#free(name),
      type: null,
      producer: null,
      init: tensor,
    });
  }

  /** Adds a sparse initializer. */
  sparse(tensor: SparseTensor, name = "sparse"): ValueId {
    return this.#add({
      id: this.ids.value(),
      name: this.#free(name),
      type: null,
      producer: null,
      init: null,
      sparse: tensor,
    });
  }

  /** Adds a node and returns its first output. */
  node(
    op: string,
    inputs: readonly (ValueId | null)[],
    attrs: Readonly<Record<string, AttrInput>> = {},
    options: NodeOptions = {},
  ): ValueId {
    const [first] = this.multi(op, inputs, 1, attrs, options);
    if (first === undefined || first === null) throw new Error(`${op} was asked for no first output`);
    return first;
  }

  /** Adds a node with `count` outputs and returns them; an output named `""` is left out and reads `null`. */
  multi(
    op: string,
    inputs: readonly (ValueId | null)[],
    count: number,
    attrs: Readonly<Record<string, AttrInput>> = {},
    options: NodeOptions = {},
  ): (ValueId | null)[] {
    const id: NodeId = this.ids.node();
    const name = options.name ?? `${op}_${this.#nodes.length}`;
    const names =
      options.outputNames ??
      Array.from({ length: count }, (_, i) =>
        this.#free(count === 1 ? `${name}_output` : `${name}_output_${i}`),
      );
    const outputs = names.map((n) =>
      n === "" ? null : this.#add({ id: this.ids.value(), name: n, type: null, producer: id, init: null }),
    );
    this.#nodes.push({
      id,
      name,
      domain: options.domain ?? "",
      op,
      overload: options.overload ?? "",
      inputs,
      outputs,
      attrs: new Map(Object.entries(attrs).map(([k, v]) => [k, toAttr(v)])),
    });
    return outputs;
  }

  /** Declares the type of a value (`value_info`). */
  declare(id: ValueId, type: ValueType | null): this {
    const value = this.#values.get(id);
    if (value === undefined) throw new Error(`value ${id} is not in this graph`);
    this.#values.set(id, { ...value, type });
    return this;
  }

  /** Makes `id` a graph output, optionally renaming and typing it. */
  output(id: ValueId, name?: string, type?: ValueType | null): this {
    const value = this.#values.get(id);
    if (value !== undefined && (name !== undefined || type !== undefined)) {
      if (name !== undefined && name !== value.name) {
        if (this.#names.has(name)) throw new Error(`value name "${name}" is taken`);
        this.#names.delete(value.name);
        this.#names.add(name);
      }
      this.#values.set(id, {
        ...value,
        name: name ?? value.name,
        type: type === undefined ? value.type : type,
      });
    }
    this.#outputs.push(id);
    return this;
  }

  /** A graph for an attribute (`then_branch`, `body`); it may read values of this builder. */
  subgraph(name: string, make: (inner: GraphBuilder) => void): Graph {
    const inner = new GraphBuilder(this.ids, name);
    make(inner);
    return inner.graph();
  }

  /** The graph built so far. */
  graph(): Graph {
    return new Graph({
      ids: this.ids,
      name: this.#name,
      nodes: this.#nodes,
      values: this.#values.values(),
      inputs: this.#inputs,
      outputs: this.#outputs,
    });
  }
}

/** Options of {@link ModelBuilder}. */
export interface ModelOptions {
  /** Graph name; `graph` unless said. */
  readonly name?: string;
  /** ONNX opset; 17 unless said. */
  readonly opset?: number;
  /** Further domains. */
  readonly domains?: Readonly<Record<string, number>>;
  /** IR version; the one released with the opset unless said. */
  readonly irVersion?: number;
}

/** IR version that the ONNX release of each opset introduced (ONNX Versioning, table of released versions). */
const IR_OF_OPSET: readonly (readonly [opset: number, ir: number])[] = [
  [25, 13],
  [24, 12],
  [23, 11],
  [21, 10],
  [19, 9],
  [15, 8],
  [12, 7],
  [11, 6],
  [10, 5],
  [9, 4],
  [1, 3],
];

/** The IR version that goes with an ONNX opset. */
export function irVersionOf(opset: number): number {
  return IR_OF_OPSET.find(([from]) => opset >= from)?.[1] ?? 3;
}

/** Builds a whole model: a {@link GraphBuilder} for the main graph plus functions and versions. */
export class ModelBuilder extends GraphBuilder {
  readonly #options: ModelOptions;
  readonly #functions: ModelFunction[] = [];

  constructor(options: ModelOptions = {}) {
    super(new IdSource(), options.name ?? "graph");
    this.#options = options;
  }

  /** Adds a function whose formal inputs and outputs are those `make` declares. */
  func(
    domain: string,
    name: string,
    make: (body: GraphBuilder) => void,
    more: Partial<Pick<ModelFunction, "overload" | "attributes" | "defaults" | "opsets">> = {},
  ): this {
    const body = new GraphBuilder(this.ids, name);
    make(body);
    this.#functions.push({
      domain,
      name,
      overload: more.overload ?? "",
      body: body.graph(),
      attributes: more.attributes ?? [],
      defaults: more.defaults ?? new Map(),
      opsets: more.opsets ?? new Map([["", this.#options.opset ?? 17]]),
    });
    return this;
  }

  /** The finished model. */
  build(): Model {
    const opset = this.#options.opset ?? 17;
    return {
      graph: this.graph(),
      functions: this.#functions,
      irVersion: this.#options.irVersion ?? irVersionOf(opset),
      opsets: new Map([["", opset], ...Object.entries(this.#options.domains ?? {})]),
      producer: { name: "diffpress", version: "" },
      path: null,
      meta: {},
    };
  }
}
