import { type Diagnostic, diagnostic } from "../diagnostics/index.ts";
import { byteLength, elementCount } from "./dtype.ts";
import { type Graph, type Model, type Node, subgraphs, type ValueId } from "./graph.ts";
import { inferShapes } from "./infer.ts";
import { opSpec } from "./ops/index.ts";

/** What {@link verifyModel} checks besides structure. */
export interface VerifyOptions {
  /** Also infer types and compare them with the declared ones (default). */
  readonly types?: boolean;
}

/** Checks one graph and its subgraphs; `outer` holds what the graphs around it define. */
class Verifier {
  readonly found: Diagnostic[] = [];
  readonly #functions: ReadonlySet<string>;

  constructor(model: Model) {
    this.#functions = new Set(model.functions.map((f) => `${f.domain}\u0000${f.name}`));
  }

  #bad(where: string, problem: string): void {
    this.found.push(diagnostic("GRAPH_INVALID", { where, problem }) as unknown as Diagnostic);
  }

  graph(
    g: Graph,
    opsets: ReadonlyMap<string, number>,
    outer: ReadonlySet<ValueId>,
    names: ReadonlySet<string>,
    main: boolean,
  ): void {
    const where = `graph "${g.name}"`;
    const defined = new Set(outer);
    const taken = new Set(names);
    for (const v of g.values()) {
      if (taken.has(v.name)) this.#bad(where, `the name "${v.name}" is given to two values`);
      taken.add(v.name);
      if (v.producer !== null && !g.hasNode(v.producer))
        this.#bad(where, `the node that makes "${v.name}" is not in the graph`);
      if (v.init !== null || v.sparse !== undefined) {
        defined.add(v.id);
        if (v.producer !== null) this.#bad(where, `"${v.name}" is a constant and the output of a node`);
      }
      if (v.init?.source.kind === "inline") {
        const want = byteLength(v.init.dtype, elementCount(v.init.dims));
        const has = v.init.source.bytes.length;
        if (want !== has) this.#bad(where, `constant "${v.name}" holds ${has} bytes, its type needs ${want}`);
      }
    }
    for (const id of g.inputs) {
      const v = g.find(id);
      if (v === undefined) this.#bad(where, `input ${id} has no value`);
      else {
        if (v.producer !== null) this.#bad(where, `input "${v.name}" is made by a node`);
        if (main && v.type === null) this.#bad(where, `input "${v.name}" has no type`);
      }
      defined.add(id);
    }
    const made = new Set<ValueId>();
    for (const node of g.nodes()) {
      this.#node(node, g, opsets, defined, taken);
      for (const id of node.outputs) {
        if (id === null) continue;
        const v = g.find(id);
        if (v === undefined) this.#bad(`node "${node.name}"`, `output ${id} has no value`);
        else if (v.producer !== node.id)
          this.#bad(`node "${node.name}"`, `"${v.name}" names another producer`);
        if (made.has(id)) this.#bad(`node "${node.name}"`, `"${v?.name ?? id}" is made twice`);
        made.add(id);
        defined.add(id);
      }
    }
    for (const id of g.outputs)
      if (!defined.has(id)) this.#bad(where, `output "${g.find(id)?.name ?? id}" is made by nothing`);
  }

  #node(
    node: Node,
    g: Graph,
    opsets: ReadonlyMap<string, number>,
    defined: ReadonlySet<ValueId>,
    names: ReadonlySet<string>,
  ): void {
    for (const id of node.inputs) {
      if (id === null || defined.has(id)) continue;
      const name = g.find(id)?.name ?? `${id}`;
      const later = g.find(id)?.producer !== null && g.find(id) !== undefined;
      this.#bad(
        `node "${node.name}"`,
        `reads "${name}", which ${later ? "a later node makes" : "nothing makes"}`,
      );
    }
    for (const inner of subgraphs(node)) this.graph(inner, opsets, defined, names, false);
    if (this.#functions.has(`${node.domain}\u0000${node.op}`)) return;
    this.#operator(node, opsets.get(node.domain));
  }

  #operator(node: Node, opset: number | undefined): void {
    const at = { node: node.name, op: node.op };
    if (opset === undefined) {
      const d = diagnostic("OPSET_MISSING", { ...at, domain: node.domain });
      this.found.push(d as unknown as Diagnostic);
      return;
    }
    const spec = opSpec(node.domain, node.op);
    if (spec === undefined) return;
    const since = spec.versions[0] ?? 1;
    if (since > opset)
      this.found.push(diagnostic("OP_TOO_NEW", { ...at, opset, since }) as unknown as Diagnostic);
    for (const what of ["inputs", "outputs"] as const) {
      const { min, max } = spec[what];
      const count = node[what].length;
      if (count < min || count > max)
        this.found.push(
          diagnostic("OP_ARITY", { ...at, what, found: count, min, max }) as unknown as Diagnostic,
        );
    }
  }

  /** Functions that call themselves, directly or through others, have no meaning. */
  recursion(model: Model): void {
    const calls = new Map<string, Set<string>>();
    const collect = (g: Graph, into: Set<string>): void => {
      for (const n of g.nodes()) {
        const key = `${n.domain}\u0000${n.op}`;
        if (this.#functions.has(key)) into.add(key);
        for (const inner of subgraphs(n)) collect(inner, into);
      }
    };
    for (const f of model.functions) {
      const into = new Set<string>();
      collect(f.body, into);
      calls.set(`${f.domain}\u0000${f.name}`, into);
    }
    const state = new Map<string, "open" | "done">();
    const visit = (key: string): boolean => {
      if (state.get(key) === "done") return false;
      if (state.get(key) === "open") return true;
      state.set(key, "open");
      const loops = [...(calls.get(key) ?? [])].some(visit);
      state.set(key, "done");
      return loops;
    };
    for (const key of calls.keys())
      if (visit(key)) this.#bad(`function "${key.split("\u0000")[1]}"`, "it calls itself");
  }
}

/**
 * Checks that a model is well formed: single assignment, every read defined before it, distinct value names (also
 * against enclosing graphs), known opsets, arities, constants of the right size, types that fit the operators and the
 * declarations. Returns what is wrong; an empty list means the model is sound. Operators this version does not know
 * are not judged.
 */
export function verifyModel(model: Model, options: VerifyOptions = {}): Diagnostic[] {
  const v = new Verifier(model);
  const nothing: ReadonlySet<never> = new Set();
  v.graph(model.graph, model.opsets, nothing, nothing, true);
  for (const f of model.functions) {
    v.graph(f.body, new Map([...model.opsets, ...f.opsets]), nothing, nothing, false);
  }
  v.recursion(model);
  if (v.found.length === 0 && options.types !== false) v.found.push(...inferShapes(model).diagnostics);
  return v.found;
}
