import { numbersOf } from "./constants.ts";
import { DTYPES, elementCount } from "./dtype.ts";
import { type Attr, Graph, type Model, type Node, type Value, type ValueId } from "./graph.ts";
import { typeText } from "./infer/merge.ts";
import type { InferredShapes } from "./infer.ts";
import type { Tensor } from "./tensor.ts";
import type { ValueType } from "./types.ts";

/** What {@link printGraph} takes besides the graph. */
export interface PrintOptions {
  /** Types to show in place of the declared ones. */
  readonly shapes?: InferredShapes;
}

/** Most elements of a constant or list that are written out. */
const MAX_SHOWN = 8;

function num(x: number | bigint): string {
  if (typeof x === "bigint" || Number.isInteger(x)) return String(x);
  return String(Number(x.toPrecision(6)));
}

function list(items: readonly string[]): string {
  const shown = items.slice(0, MAX_SHOWN);
  return `[${shown.join(", ")}${items.length > MAX_SHOWN ? `, ... ${items.length}` : ""}]`;
}

/** Bytes as text where they are printable UTF-8 without control characters, else their count. */
function stringText(bytes: Uint8Array): string {
  const text = new TextDecoder().decode(bytes.subarray(0, 120));
  return JSON.stringify(bytes.length > 120 ? `${text}...` : text);
}

/** `i64[2] [1, -1]`, `f32[320,4,3,3] file`, `i8[64,64] quantizeChannel#0`. */
export function tensorText(t: Tensor): string {
  const type = `${t.dtype}[${t.dims.join(",")}]`;
  switch (t.source.kind) {
    case "file":
      return `${type} file`;
    case "derived": {
      const { derivation, output } = t.source;
      return `${type} ${derivation.kernel}${derivation.outputs.length > 1 ? `#${output}` : ""}`;
    }
    case "strings":
      return `${type} ${list(t.source.values.slice(0, MAX_SHOWN + 1).map(stringText))}`;
    case "inline": {
      const n = elementCount(t.dims);
      if (n > MAX_SHOWN || DTYPES[t.dtype].bits < 8) return `${type} inline`;
      const values = numbersOf(t, MAX_SHOWN);
      return values === null ? `${type} inline` : `${type} ${list(values.map(num))}`;
    }
  }
}

class Printer {
  readonly #lines: string[] = [];
  readonly #scopes: Graph[] = [];
  readonly #shapes: InferredShapes | undefined;

  constructor(options: PrintOptions) {
    this.#shapes = options.shapes;
  }

  line(depth: number, text: string): void {
    this.#lines.push("  ".repeat(depth) + text);
  }

  text(): string {
    return `${this.#lines.join("\n")}\n`;
  }

  #name(id: ValueId | null): string {
    if (id === null) return "_";
    for (let i = this.#scopes.length - 1; i >= 0; i--) {
      const v = this.#scopes[i]!.find(id);
      if (v !== undefined) return `%${v.name}`;
    }
    return `%<${id}>`;
  }

  #type(v: Value | undefined, id: ValueId): string {
    const type: ValueType | null = this.#shapes?.type(id) ?? v?.type ?? null;
    return type === null ? "" : `: ${typeText(type)}`;
  }

  graph(g: Graph, depth: number, head: string): void {
    this.#scopes.push(g);
    this.line(depth, head);
    for (const id of g.inputs) {
      const v = g.find(id);
      const init = v?.init === null || v === undefined ? "" : ` = ${tensorText(v.init)}`;
      this.line(depth + 1, `input ${this.#name(id)}${this.#type(v, id)}${init}`);
    }
    for (const v of g.values()) {
      if (g.inputs.includes(v.id)) continue;
      if (v.init !== null) this.line(depth + 1, `const ${this.#name(v.id)} = ${tensorText(v.init)}`);
      else if (v.sparse !== undefined) {
        const { values, dims } = v.sparse;
        this.line(depth + 1, `const ${this.#name(v.id)} = sparse ${values.dtype}[${dims.join(",")}]`);
      }
    }
    for (const n of g.nodes()) this.#node(n, g, depth + 1);
    for (const id of g.outputs) this.line(depth + 1, `output ${this.#name(id)}${this.#type(g.find(id), id)}`);
    this.#scopes.pop();
  }

  #node(n: Node, g: Graph, depth: number): void {
    const outputs = n.outputs.map((id) =>
      id === null ? "_" : `${this.#name(id)}${this.#type(g.find(id), id)}`,
    );
    const op = `${n.domain === "" ? "" : `${n.domain}.`}${n.op}${n.overload === "" ? "" : `:${n.overload}`}`;
    const inputs = n.inputs.map((id) => this.#name(id)).join(", ");
    const attrs: string[] = [];
    const bodies: [string, Graph][] = [];
    for (const [name, a] of [...n.attrs].sort(([x], [y]) => (x < y ? -1 : 1))) {
      if (a.kind === "graph") bodies.push([name, a.value]);
      else if (a.kind === "graphs")
        bodies.push(...a.value.map((b, i): [string, Graph] => [`${name}[${i}]`, b]));
      else attrs.push(`${name}=${attrText(a)}`);
    }
    const tail = attrs.length === 0 ? "" : ` {${attrs.join(", ")}}`;
    this.line(depth, `${outputs.join(", ")} = ${op}(${inputs})${tail}`);
    for (const [name, body] of bodies) this.graph(body, depth + 1, `${name}:`);
  }
}

function attrText(a: Exclude<Attr, { kind: "graph" } | { kind: "graphs" }>): string {
  switch (a.kind) {
    case "int":
      return num(a.value);
    case "float":
      return Number.isInteger(a.value) ? `${num(a.value)}.0` : num(a.value);
    case "string":
      return stringText(a.value);
    case "tensor":
      return tensorText(a.value);
    case "sparse":
      return `sparse ${a.value.values.dtype}[${a.value.dims.join(",")}]`;
    case "type":
      return typeText(a.value);
    case "ints":
      return list(a.value.map(num));
    case "floats":
      return list(a.value.map(num));
    case "strings":
      return list(a.value.map(stringText));
    case "tensors":
      return list(a.value.map(tensorText));
    case "sparses":
      return list(a.value.map((s) => `sparse ${s.values.dtype}[${s.dims.join(",")}]`));
    case "types":
      return list(a.value.map(typeText));
    case "ref":
      return `@${a.name}`;
  }
}

/**
 * Stable text of a model or graph for people and golden tests: one line per input, constant, node and output, in graph
 * order, attributes by name, subgraphs indented. Large constants show type and origin only, so weights never matter.
 */
export function printGraph(subject: Model | Graph, options: PrintOptions = {}): string {
  const p = new Printer(options);
  if (subject instanceof Graph) {
    p.graph(subject, 0, `graph ${subject.name}`);
    return p.text();
  }
  const opsets = [...subject.opsets].sort(([a], [b]) => (a < b ? -1 : 1));
  p.line(
    0,
    `model ir ${subject.irVersion}, opsets ${opsets.map(([d, v]) => `${d === "" ? "onnx" : d} ${v}`).join(", ")}`,
  );
  p.graph(subject.graph, 0, `graph ${subject.graph.name}`);
  for (const f of subject.functions) {
    const params = [...f.attributes, ...[...f.defaults.keys()].map((k) => `${k}?`)].join(", ");
    const name = `${f.domain === "" ? "" : `${f.domain}.`}${f.name}${f.overload === "" ? "" : `:${f.overload}`}`;
    p.graph(f.body, 0, `function ${name}(${params})`);
  }
  return p.text();
}
