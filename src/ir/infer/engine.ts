import { type Diagnostic, diagnostic } from "../../diagnostics/index.ts";
import { numbersOf } from "../constants.ts";
import type { Attr, Graph, Model, ModelFunction, Node, ValueId } from "../graph.ts";
import { opSpec } from "../ops/index.ts";
import type { ValueFact } from "../ops/spec.ts";
import type { Tensor } from "../tensor.ts";
import { type Dim, tensorType, type ValueType } from "../types.ts";
import { MAX_DATA, NodeContext, type Surroundings } from "./context.ts";
import { bindType, cleanType, collectSymbols, mergeTypes, typeText } from "./merge.ts";

/** Deepest nesting of subgraphs and function calls that is followed. */
const MAX_DEPTH = 24;
/** Node visits allowed beyond one per node: nested loops and functions repeat their bodies. */
const EXTRA_VISITS = 1_000_000;

/** Values, attributes and opsets that a piece of the model sees: the main graph with its subgraphs, or one call. */
interface Frame {
  readonly facts: Map<ValueId, ValueFact>;
  readonly constants: Map<ValueId, Tensor>;
  readonly opsets: ReadonlyMap<string, number>;
  /** Attributes of the call, in a function body. */
  readonly attrs: ReadonlyMap<string, Attr> | null;
  readonly prefix: string;
}

export interface EngineOptions {
  readonly inputTypes?: ReadonlyMap<ValueId, ValueType> | undefined;
  readonly bindings?: Readonly<Record<string, number>> | undefined;
}

const NO_FACT: ValueFact = { type: null, data: null };

function functionKey(domain: string, name: string, overload: string): string {
  return `${domain}\u0000${name}\u0000${overload}`;
}

/** One run of inference over a model. */
export class Engine {
  readonly facts = new Map<ValueId, ValueFact>();
  readonly diagnostics: Diagnostic[] = [];
  readonly #functions: ReadonlyMap<string, ModelFunction>;
  readonly #constants = new Map<ValueId, Tensor>();
  readonly #symbols = new Set<string>();
  readonly #model: Model;
  readonly #options: EngineOptions;
  readonly #calling = new Set<ModelFunction>();
  #visits = 0;
  #depth = 0;

  constructor(model: Model, options: EngineOptions) {
    this.#model = model;
    this.#options = options;
    this.#functions = new Map(model.functions.map((f) => [functionKey(f.domain, f.name, f.overload), f]));
  }

  run(graph: Graph): void {
    const inputs: ValueFact[] = [];
    for (const id of graph.inputs) {
      const given = this.#options.inputTypes?.get(id);
      let type = given ?? graph.value(id).type;
      if (type !== null && this.#options.bindings !== undefined)
        type = bindType(type, this.#options.bindings);
      if (type !== null) collectSymbols(type, this.#symbols);
      inputs.push({ type, data: null });
    }
    const frame: Frame = {
      facts: this.facts,
      constants: this.#constants,
      opsets: this.#model.opsets,
      attrs: null,
      prefix: "",
    };
    this.#graph(graph, frame, inputs);
  }

  /** Values of a small tensor of the main graph or its subgraphs, constants included. */
  data(id: ValueId): readonly Dim[] | null {
    const fact = this.facts.get(id);
    if (fact === undefined || fact.data !== null) return fact?.data ?? null;
    return numbersOf(this.#constants.get(id) ?? null, MAX_DATA);
  }

  #graph(graph: Graph, frame: Frame, inputs: readonly (ValueFact | null)[]): void {
    for (const v of graph.values()) {
      if (v.init !== null) {
        frame.facts.set(v.id, { type: tensorType(v.init.dtype, v.init.dims), data: null });
        frame.constants.set(v.id, v.init);
      } else if (v.sparse !== undefined) {
        frame.facts.set(v.id, { type: tensorType(v.sparse.values.dtype, v.sparse.dims), data: null });
      } else if (v.producer === null && v.type !== null) {
        frame.facts.set(v.id, { type: this.#clean(v.type, v.id, frame), data: null });
      }
    }
    graph.inputs.forEach((id, i) => {
      // An initializer that is an input too is only a default: its value may be overridden.
      frame.constants.delete(id);
      const given = inputs[i];
      const type = given?.type ?? null;
      if (type !== null) {
        frame.facts.set(id, { type: this.#clean(type, id, frame), data: given?.data ?? null });
      }
    });
    for (const node of graph.nodes()) {
      if (this.#visits++ > EXTRA_VISITS + this.#model.graph.nodeCount) {
        this.#limit(graph.name);
        return;
      }
      this.#node(node, graph, frame);
    }
  }

  #clean(type: ValueType, id: ValueId, frame: Frame): ValueType {
    return cleanType(type, this.#symbols, (axis) => `?${frame.prefix}${id}.${axis}`);
  }

  #limit(where: string): void {
    if (this.diagnostics.some((d) => d.code === "INFERENCE_LIMIT")) return;
    this.diagnostics.push(
      diagnostic("INFERENCE_LIMIT", { where: `graph "${where}"` }) as unknown as Diagnostic,
    );
  }

  #node(node: Node, graph: Graph, frame: Frame): void {
    const callee =
      this.#functions.size === 0
        ? undefined
        : this.#functions.get(functionKey(node.domain, node.op, node.overload));
    if (callee !== undefined) {
      const results = this.#call(callee, node, frame);
      for (let i = 0; i < node.outputs.length; i++) this.#store(node, graph, frame, i, results[i] ?? NO_FACT);
      return;
    }
    const spec = opSpec(node.domain, node.op);
    const ctx = new NodeContext(node, frame.opsets.get(node.domain) ?? 1, this.#surroundings(node, frame));
    spec?.infer?.(ctx);
    for (let i = 0; i < node.outputs.length; i++) {
      const type = ctx.failed ? null : (ctx.types[i] ?? null);
      this.#store(node, graph, frame, i, { type, data: ctx.failed ? null : (ctx.values[i] ?? null) });
    }
    if (node.op === "Constant" && node.domain === "") {
      const value = node.attrs.get("value");
      const out = node.outputs[0];
      if (value?.kind === "tensor" && out !== null && out !== undefined)
        frame.constants.set(out, value.value);
    }
  }

  #store(node: Node, graph: Graph, frame: Frame, output: number, fact: ValueFact): void {
    const id = node.outputs[output];
    if (id === null || id === undefined) return;
    const value = graph.find(id);
    const declared = value?.type ?? null;
    let type = fact.type;
    if (declared !== null) {
      if (type === null) type = this.#clean(declared, id, frame);
      else {
        const merged = mergeTypes(type, declared, this.#symbols);
        if (merged === undefined) {
          const d = { value: value!.name, declared: typeText(declared), inferred: typeText(type) };
          this.diagnostics.push(diagnostic("TYPE_CONFLICT", d) as unknown as Diagnostic);
        } else type = merged;
      }
    }
    frame.facts.set(id, type === fact.type ? fact : { type, data: fact.data });
  }

  #surroundings(node: Node, frame: Frame): Surroundings {
    const fact = (i: number): ValueFact | null => {
      const id = node.inputs[i];
      if (id === null || id === undefined) return null;
      const known = frame.facts.get(id);
      if (known === undefined || known.data !== null) return known ?? null;
      const constant = frame.constants.get(id);
      if (constant === undefined) return known;
      const data = numbersOf(constant, MAX_DATA);
      if (data === null) return known;
      const full = { type: known.type, data };
      frame.facts.set(id, full);
      return full;
    };
    return {
      fact,
      constant: (i) => {
        const id = node.inputs[i];
        return id === null || id === undefined ? null : (frame.constants.get(id) ?? null);
      },
      attr: (name) => {
        const a = node.attrs.get(name);
        return a?.kind === "ref" ? frame.attrs?.get(a.name) : a;
      },
      unknownPrefix: () => `${frame.prefix}${node.outputs.find((o) => o !== null) ?? node.id}`,
      subgraph: (inner, inputs) => this.#subgraph(inner, frame, inputs),
      invalid: (problem) => {
        const d = { node: node.name, op: node.op, problem };
        this.diagnostics.push(diagnostic("SHAPE_INVALID", d) as unknown as Diagnostic);
      },
    };
  }

  #subgraph(
    inner: Graph,
    frame: Frame,
    inputs: readonly (ValueType | null)[],
  ): readonly (ValueType | null)[] {
    if (this.#depth >= MAX_DEPTH) {
      this.#limit(inner.name);
      return inner.outputs.map(() => null);
    }
    this.#depth++;
    this.#graph(
      inner,
      frame,
      inputs.map((type) => ({ type, data: null })),
    );
    this.#depth--;
    return inner.outputs.map((o) => frame.facts.get(o)?.type ?? null);
  }

  #call(callee: ModelFunction, node: Node, frame: Frame): readonly ValueFact[] {
    if (this.#depth >= MAX_DEPTH || this.#calling.has(callee)) {
      this.#limit(callee.name);
      return [];
    }
    const around = this.#surroundings(node, frame);
    const attrs = new Map(callee.defaults);
    for (const name of node.attrs.keys()) {
      const a = around.attr(name);
      if (a !== undefined) attrs.set(name, a);
    }
    const inner: Frame = {
      facts: new Map(),
      constants: new Map(),
      opsets: new Map([...frame.opsets, ...callee.opsets]),
      attrs,
      prefix: `${around.unknownPrefix()}:`,
    };
    this.#depth++;
    this.#calling.add(callee);
    this.#graph(
      callee.body,
      inner,
      callee.body.inputs.map((_, i) => around.fact(i)),
    );
    this.#calling.delete(callee);
    this.#depth--;
    return callee.body.outputs.map((o) => inner.facts.get(o) ?? NO_FACT);
  }
}
