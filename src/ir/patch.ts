import type { Attr, Graph, Node, NodeId, Value, ValueId } from "./graph.ts";
import type { Tensor } from "./tensor.ts";
import type { ValueType } from "./types.ts";

/** New nodes and constants plus how they connect: built aside, checked once, applied at once. */
export interface Patch {
  /** Pass and rule, for reports and error context. */
  readonly label: string;
  readonly add: readonly Node[];
  readonly values: readonly Value[];
  /** Every use of the key (graph outputs included) becomes a use of the value. */
  readonly redirect: ReadonlyMap<ValueId, ValueId>;
  readonly remove: readonly NodeId[];
  /** Replaces declared types, for example when a symbolic input dim gets its number. */
  readonly types: ReadonlyMap<ValueId, ValueType | null>;
  /** Constants nothing reads any more. Constants are otherwise kept, read or not. */
  readonly drop: readonly ValueId[];
}

export interface NodeSpec {
  readonly op: string;
  readonly domain?: string;
  readonly name?: string;
  readonly inputs: readonly (ValueId | null)[];
  readonly attrs?: Readonly<Record<string, Attr>>;
  /** How many outputs; 1 unless said. */
  readonly outputs?: number;
  /** Base of the output names; the node name unless said. */
  readonly outputName?: string;
}

/** Builds a {@link Patch} for one graph. Names are made unique deterministically when it is applied. */
export class PatchBuilder {
  readonly #graph: Graph;
  readonly #label: string;
  readonly #add: Node[] = [];
  readonly #values: Value[] = [];
  readonly #redirect = new Map<ValueId, ValueId>();
  readonly #remove: NodeId[] = [];
  readonly #types = new Map<ValueId, ValueType | null>();
  readonly #drop: ValueId[] = [];

  constructor(graph: Graph, label: string) {
    this.#graph = graph;
    this.#label = label;
  }

  /** Adds a node and returns its outputs. */
  node(spec: NodeSpec): [ValueId, ...ValueId[]] {
    const id = this.#graph.ids.node();
    const name = spec.name ?? `${spec.op}_${id}`;
    const outputs: ValueId[] = [];
    const count = spec.outputs ?? 1;
    for (let i = 0; i < count; i++) {
      const out = this.#graph.ids.value();
      const base = spec.outputName ?? `${name}_output`;
      this.#values.push({
        id: out,
        name: count === 1 ? base : `${base}_${i}`,
        type: null,
        producer: id,
        init: null,
      });
      outputs.push(out);
    }
    this.#add.push({
      id,
      name,
      domain: spec.domain ?? "",
      op: spec.op,
      overload: "",
      inputs: spec.inputs,
      outputs,
      attrs: new Map(Object.entries(spec.attrs ?? {})),
    });
    return outputs as [ValueId, ...ValueId[]];
  }

  /** Adds an initializer and returns its value. */
  constant(tensor: Tensor, name = "const"): ValueId {
    const id = this.#graph.ids.value();
    this.#values.push({ id, name, type: null, producer: null, init: tensor });
    return id;
  }

  /** Adds a value that an {@link insert}ed node will make, or a constant when `init` is given. */
  value(name: string, init: Tensor | null = null): ValueId {
    const id = this.#graph.ids.value();
    this.#values.push({ id, name, type: null, producer: null, init });
    return id;
  }
  /** Adds a finished node, whose outputs were made with {@link value} or belong to a node this patch removes. */
  insert(node: Node): this {
    this.#add.push(node);
    return this;
  }
  /** Every use of `from`, graph outputs included, becomes a use of `to`. */
  redirect(from: ValueId, to: ValueId): this {
    this.#redirect.set(from, to);
    return this;
  }
  /** Removes a node; its outputs must have no users left once the patch is in. */
  remove(...ids: NodeId[]): this {
    this.#remove.push(...ids);
    return this;
  }
  /** Replaces a node by an edited copy with the same outputs (the outputs keep their ids). */
  replace(node: Node, change: Partial<Pick<Node, "op" | "domain" | "inputs" | "outputs" | "attrs">>): this {
    this.#remove.push(node.id);
    this.#add.push({ ...node, ...change });
    return this;
  }
  /** Replaces the declared type of a graph input, output or value. */
  retype(id: ValueId, type: ValueType | null): this {
    this.#types.set(id, type);
    return this;
  }
  /** Drops constants that nothing reads. */
  drop(...ids: ValueId[]): this {
    this.#drop.push(...ids);
    return this;
  }
  get empty(): boolean {
    return (
      this.#add.length === 0 &&
      this.#redirect.size === 0 &&
      this.#remove.length === 0 &&
      this.#types.size === 0 &&
      this.#drop.length === 0 &&
      this.#values.length === 0
    );
  }
  build(): Patch {
    return {
      label: this.#label,
      add: this.#add,
      values: this.#values,
      redirect: this.#redirect,
      remove: this.#remove,
      types: this.#types,
      drop: this.#drop,
    };
  }
  /** Builds and applies, unless there is nothing to do. True when something was applied. */
  apply(): boolean {
    if (this.empty) return false;
    this.#graph.apply(this.build());
    return true;
  }
}
