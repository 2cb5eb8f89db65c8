import { createHash } from "node:crypto";
import type { Attr, Graph, Node, ValueId } from "../../ir/graph.ts";
import { opSpec } from "../../ir/ops/index.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { definePass } from "../pass.ts";
import { ownConstants } from "./own-constants.ts";

function tensorKey(t: Tensor): string | null {
  if (t.source.kind !== "inline") return null;
  return `${t.dtype}[${t.dims}]${createHash("sha256").update(t.source.bytes).digest("hex")}`;
}

/** Text that is equal exactly when two attributes mean the same; `null` for kinds that are not compared. */
function attrKey(attr: Attr): string | null {
  switch (attr.kind) {
    case "int":
    case "float":
      return `${attr.kind}:${Object.is(attr.value, -0) ? "-0" : attr.value}`;
    case "ints":
    case "floats":
      return `${attr.kind}:${attr.value.join(",")}`;
    case "string":
      return `string:${Buffer.from(attr.value).toString("hex")}`;
    case "strings":
      return `strings:${attr.value.map((v) => Buffer.from(v).toString("hex")).join(",")}`;
    case "tensor":
      return tensorKey(attr.value);
    default:
      return null;
  }
}

/** Two nodes with equal keys compute the same outputs. */
function nodeKey(node: Node, rep: (id: ValueId) => ValueId): string | null {
  const spec = opSpec(node.domain, node.op);
  if (spec === undefined) return null;
  if (spec.traits?.includes("nondeterministic") || spec.traits?.includes("control-flow")) return null;
  const attrs: string[] = [];
  for (const name of [...node.attrs.keys()].sort()) {
    const key = attrKey(node.attrs.get(name)!);
    if (key === null) return null;
    attrs.push(`${name}=${key}`);
  }
  const inputs = node.inputs.map((i) => (i === null ? "" : String(rep(i))));
  if (spec.traits?.includes("commutative")) inputs.sort();
  return `${node.domain}:${node.op}:${node.overload}(${inputs})->${node.outputs.length}{${attrs}}`;
}

export const mergeDuplicates = definePass<Record<string, never>>({
  name: "merge-duplicates",
  family: "clean",
  summary: "Merges nodes that compute the same thing (common subexpressions) and equal small constants",
  doc: `Nodes with the same operator, attributes and inputs are one node; operators that are commutative are compared
with their inputs in any order. Nodes that may answer differently each time (random generators) and nodes with
subgraphs are left alone. Constants held in memory are compared by content, but for those a runtime rewrites for their node; large weights are the business of
\`dedupe-weights\`.`,
  effect: "exact",
  options: { type: "object", additionalProperties: false, properties: {} },
  version: 1,
  run(graph, _options, ctx) {
    const merged = mergeOnce(graph);
    if (merged > 0) ctx.decide({ node: "", kind: "applied", rule: "common-subexpression", count: merged });
  },
});

function mergeOnce(graph: Graph): number {
  const own = ownConstants(graph);
  const patch = new PatchBuilder(graph, "merge-duplicates");
  const same = new Map<ValueId, ValueId>();
  const rep = (id: ValueId): ValueId => same.get(id) ?? id;
  const constants = new Map<string, ValueId>();
  for (const v of graph.values()) {
    if (v.init === null || graph.inputs.includes(v.id) || own.has(v.id)) continue;
    const key = tensorKey(v.init);
    if (key === null) continue;
    const first = constants.get(key);
    if (first === undefined) constants.set(key, v.id);
    else {
      same.set(v.id, first);
      patch.redirect(v.id, first);
    }
  }
  const seen = new Map<string, Node>();
  let merged = 0;
  for (const node of graph.nodes()) {
    const key = nodeKey(node, rep);
    if (key === null) continue;
    const first = seen.get(key);
    if (first === undefined) {
      seen.set(key, node);
      continue;
    }
    // Two graph outputs need two values: the second one stays.
    if (node.outputs.some((o) => o !== null && graph.isOutput(o))) continue;
    if (node.outputs.some((o, i) => o !== null && first.outputs[i] == null)) continue;
    for (const [i, o] of node.outputs.entries()) {
      if (o === null) continue;
      same.set(o, first.outputs[i]!);
      patch.redirect(o, first.outputs[i]!);
    }
    patch.remove(node.id);
    merged++;
  }
  patch.apply();
  return merged;
}
