import { type Attr, Graph, type ModelFunction, type Node, type Value, type ValueId } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { definePass } from "../pass.ts";

/** Expansion is recursive; a chain of calls longer than this is taken for a cycle. */
const MAX_DEPTH = 64;

/** Attributes of a body node with the parameters of the call put in; a parameter without value is left out. */
function bindAttrs(node: Node, call: Node, fn: ModelFunction): Map<string, Attr> {
  const out = new Map<string, Attr>();
  for (const [name, attr] of node.attrs) {
    if (attr.kind === "graph") out.set(name, { kind: "graph", value: bindGraph(attr.value, call, fn) });
    else if (attr.kind === "graphs")
      out.set(name, { kind: "graphs", value: attr.value.map((g) => bindGraph(g, call, fn)) });
    else if (attr.kind === "ref") {
      const value = call.attrs.get(attr.name) ?? fn.defaults.get(attr.name);
      if (value !== undefined) out.set(name, value);
    } else out.set(name, attr);
  }
  return out;
}

function bindGraph(graph: Graph, call: Node, fn: ModelFunction): Graph {
  const nodes = [...graph.nodes()].map((n) => ({ ...n, attrs: bindAttrs(n, call, fn) }));
  return new Graph({
    ids: graph.ids,
    name: graph.name,
    meta: graph.meta,
    nodes,
    values: graph.values(),
    inputs: graph.inputs,
    outputs: graph.outputs,
  });
}

/** Copies a graph with fresh ids; values listed in `map` are replaced, others found nowhere are outer captures. */
function copyGraph(graph: Graph, map: Map<ValueId, ValueId | null>): Graph {
  const inner = new Map(map);
  const values: Value[] = [];
  for (const v of graph.values()) {
    const id = graph.ids.value();
    inner.set(v.id, id);
    values.push({ ...v, id });
  }
  const nodes = [...graph.nodes()].map((n) => copyNode(n, inner, graph));
  const producers = new Map(nodes.flatMap((n) => n.outputs.map((o) => [o, n.id] as const)));
  return new Graph({
    ids: graph.ids,
    name: graph.name,
    meta: graph.meta,
    nodes,
    values: values.map((v) => ({ ...v, producer: producers.get(v.id) ?? null })),
    inputs: graph.inputs.map((i) => inner.get(i)!),
    outputs: graph.outputs.map((o) => inner.get(o) ?? o),
  });
}

function copyNode(node: Node, map: Map<ValueId, ValueId | null>, graph: Graph): Node {
  const to = (id: ValueId | null): ValueId | null => (id === null ? null : map.has(id) ? map.get(id)! : id);
  const attrs = new Map<string, Attr>();
  for (const [name, attr] of node.attrs) {
    if (attr.kind === "graph") attrs.set(name, { kind: "graph", value: copyGraph(attr.value, map) });
    else if (attr.kind === "graphs")
      attrs.set(name, { kind: "graphs", value: attr.value.map((g) => copyGraph(g, map)) });
    else attrs.set(name, attr);
  }
  return { ...node, id: graph.ids.node(), inputs: node.inputs.map(to), outputs: node.outputs.map(to), attrs };
}

/** Replaces one call by the body of its function. */
function inlineCall(graph: Graph, call: Node, fn: ModelFunction): void {
  const patch = new PatchBuilder(graph, `inline-functions/${fn.name}`);
  const body = fn.body;
  const map = new Map<ValueId, ValueId | null>();
  for (const [i, formal] of body.inputs.entries()) map.set(formal, call.inputs[i] ?? null);
  for (const [i, formal] of body.outputs.entries()) {
    const actual = call.outputs[i];
    if (actual === null || actual === undefined || map.has(formal)) continue;
    if (body.producer(formal) !== undefined) map.set(formal, actual);
  }
  for (const v of body.values()) {
    if (map.has(v.id)) continue;
    map.set(v.id, patch.value(`${call.name}/${v.name}`, v.init));
  }
  patch.remove(call.id);
  for (const n of body.nodes()) {
    const bound = { ...n, attrs: bindAttrs(n, call, fn) };
    const copy = copyNode(bound, map, graph);
    patch.insert({ ...copy, name: `${call.name}/${n.name === "" ? n.op : n.name}` });
  }
  // A function may hand an input straight on, or name one result twice.
  for (const [i, formal] of body.outputs.entries()) {
    const actual = call.outputs[i];
    const made = map.get(formal);
    if (actual === null || actual === undefined || made === actual) continue;
    if (made === null || made === undefined) continue;
    patch.redirect(actual, made);
  }
  patch.apply();
}

export const inlineFunctions = definePass<Record<string, never>>({
  name: "inline-functions",
  family: "clean",
  summary: "Replaces calls of model-local functions by their bodies",
  doc: `The newest exporters wrap operators into functions of the model; passes see through them once they are inlined.
Attribute parameters get the call's value or the declared default. A function that imports another version of the
standard operators than the model does is left alone, with a decision.`,
  effect: "exact",
  options: { type: "object", additionalProperties: false, properties: {} },
  version: 1,
  run(graph, _options, ctx) {
    const key = (n: { domain: string; op: string; overload: string }): string =>
      `${n.domain}:${n.op}:${n.overload}`;
    const functions = new Map(
      ctx.model.functions.map((f) => [key({ domain: f.domain, op: f.name, overload: f.overload }), f]),
    );
    if (functions.size === 0) return;
    const refused = new Set<string>();
    let count = 0;
    for (let depth = 0; depth < MAX_DEPTH; depth++) {
      const calls = [...graph.nodes()].filter((n) => functions.has(key(n)) && !refused.has(key(n)));
      if (calls.length === 0) break;
      for (const call of calls) {
        const fn = functions.get(key(call))!;
        const other = [...fn.opsets].find(
          ([d, v]) => ctx.model.opsets.has(d) && ctx.model.opsets.get(d) !== v,
        );
        if (other !== undefined) {
          refused.add(key(call));
          const why = `the function imports opset ${other[1]} of "${other[0] || "ai.onnx"}", the model ${ctx.model.opsets.get(other[0])}`;
          ctx.decide({ node: call.name, kind: "skipped", rule: "inline-function", why });
          continue;
        }
        inlineCall(graph, call, fn);
        count++;
      }
    }
    const opsets = new Map(ctx.model.opsets);
    for (const fn of ctx.model.functions)
      for (const [d, v] of fn.opsets) if (!opsets.has(d)) opsets.set(d, v);
    ctx.model.opsets = opsets;
    if (refused.size === 0) ctx.model.functions = [];
    if (count > 0) ctx.decide({ node: "", kind: "applied", rule: "inline-function", count });
  },
});
