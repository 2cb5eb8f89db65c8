import type { Model, NodeId } from "../graph.ts";
import type { InferredShapes } from "../infer.ts";
import { findStructures } from "../pattern/index.ts";
import { addAttentions } from "./attention.ts";
import { type Draft, Workshop } from "./draft.ts";
import { addEmbeddings, nameEdges } from "./embedding.ts";
import { addFeedForwards } from "./feedforward.ts";
import { Flow } from "./flow.ts";
import { inputRoles } from "./inputs.ts";
import { findLinears, Linears } from "./linear.ts";
import { commonScope, scopeOf, scopeOfNodes, scopeOfWeight } from "./names.ts";
import { addResBlocks } from "./resblock.ts";
import { addSamplers, addSkipConcats } from "./sampling.ts";
import { addModulations, addSimpleParts } from "./simple.ts";
import { addTransformerBlocks } from "./transformer.ts";
import type { Anatomy, GraphInput, InputRole, Layer, Part } from "./types.ts";
import { ordered } from "./walk.ts";

export type * from "./types.ts";

function bitsOf(flow: Flow, inputs: readonly GraphInput[], roles: readonly InputRole[]): number {
  return inputs.filter((i) => roles.includes(i.role)).reduce((mask, i) => mask | flow.bit(i.value), 0);
}

/**
 * Recognises the structure of a diffusion network in an exported graph: roles of the inputs, blocks, attentions,
 * norms, what each layer is for. Works before and after fusions. Never throws: what does not fit becomes a miss.
 * Subgraphs of control flow are not looked into.
 */
export function anatomy(model: Model, shapes: InferredShapes): Anatomy {
  const { graph } = model;
  const scope = { graph, shapes };
  const flow = new Flow(scope);
  const structures = findStructures(scope);
  const linears = new Linears(findLinears(flow));
  const inputs = inputRoles(flow, linears, structures);
  const w = new Workshop({
    flow,
    linears,
    structures,
    bits: {
      sample: bitsOf(flow, inputs, ["sample", "token-ids", "residual", "positions", "other", "mask"]),
      sequence: bitsOf(flow, inputs, ["encoder-states"]),
    },
  });
  addSimpleParts(w);
  addModulations(w);
  addResBlocks(w);
  const attentions = addAttentions(w);
  const feedForwards = addFeedForwards(w);
  addTransformerBlocks(w, attentions, feedForwards);
  addSkipConcats(w);
  addSamplers(w);
  addEmbeddings(w, inputs);
  const edges = nameEdges(w, inputs);
  const parts = finish(w);
  return assemble(w, inputs, parts, edges);
}

/** Numbers, names and nests the drafts. */
function finish(w: Workshop): Part[] {
  const { flow } = w;
  const size = (d: Draft): number => d.nodes.size;
  const start = new Map<Draft, number>();
  for (const d of w.drafts) {
    let first = Number.POSITIVE_INFINITY;
    for (const n of d.nodes) first = Math.min(first, flow.at(n));
    start.set(d, first);
  }
  const order = new Map(w.drafts.map((d, i) => [d, i]));
  const sorted = [...w.drafts].sort(
    (a, b) => start.get(a)! - start.get(b)! || size(b) - size(a) || order.get(a)! - order.get(b)!,
  );
  const ids = new Map(sorted.map((d, i) => [d, i]));
  const around = new Map<NodeId, Draft[]>();
  for (const d of sorted) for (const n of d.nodes) around.set(n, [...(around.get(n) ?? []), d]);
  const parentOf = (d: Draft): Draft | null => {
    const [node] = d.nodes;
    let best: Draft | null = null;
    for (const p of node === undefined ? [] : (around.get(node) ?? [])) {
      if (p === d || size(p) <= size(d) || (best !== null && size(best) <= size(p))) continue;
      if ([...d.nodes].every((n) => p.nodes.has(n))) best = p;
    }
    return best;
  };
  const taken = new Map<string, number>();
  return sorted.map((d, id) => {
    const scope = scopeOfNodes(flow.graph, d.naming ?? d.nodes) || scopeOfLayers(w, d);
    const base = scope === "" ? `${d.kind}` : scope;
    const key = `${d.kind} ${base}`;
    const n = (taken.get(key) ?? 0) + 1;
    taken.set(key, n);
    const parent = parentOf(d);
    return d.finish(
      {
        id,
        name: n === 1 && scope !== "" ? base : `${base}#${n}`,
        nodes: ordered(flow, d.nodes),
        input: d.input,
        output: d.output,
        parent: parent === null ? null : (ids.get(parent) ?? null),
      },
      (other) => ids.get(other) ?? -1,
    );
  });
}

/** Scope from the names of the weights of a part's layers. */
function scopeOfLayers(w: Workshop, d: Draft): string {
  const scopes: string[] = [];
  for (const n of d.nodes) {
    const l = w.linears.of(n);
    const s = l === undefined ? "" : scopeOfWeight(w.flow.graph.find(l.weight)?.name ?? "");
    if (s !== "") scopes.push(s);
  }
  return commonScope(scopes);
}

function assemble(
  w: Workshop,
  inputs: readonly GraphInput[],
  parts: readonly Part[],
  edges: ReadonlyMap<NodeId, "first" | "last">,
): Anatomy {
  const { graph } = w.flow;
  const around = new Map<NodeId, Part[]>();
  for (const p of parts) {
    for (const n of p.nodes) {
      const list = around.get(n);
      if (list === undefined) around.set(n, [p]);
      else list.push(p);
    }
  }
  for (const list of around.values()) list.sort((a, b) => b.nodes.length - a.nodes.length || a.id - b.id);
  const misses = [...w.structures.misses, ...w.misses];
  const layers = w.linears.list.map((l): Layer => {
    const kind = w.kinds.get(l.node.id) ?? "other";
    if (kind === "other")
      misses.push({ pattern: "layer-role", node: l.node.id, why: "no part claims this layer" });
    const weightName = graph.find(l.weight)?.name ?? "";
    return {
      node: l.node.id,
      kind,
      part: around.get(l.node.id)?.at(-1)?.id ?? null,
      name: scopeOf(l.node.name) || scopeOfWeight(weightName) || l.node.name,
      weight: l.weight,
      tensor: l.tensor,
      role: l.role,
      bias: l.bias,
      biasNode: l.biasNode?.id ?? null,
      input: l.input,
      output: l.output,
      edge: edges.get(l.node.id) ?? null,
      conditioningOnly: w.isConditioning(l.input),
    };
  });
  const layerOf = new Map<NodeId, Layer>();
  for (const l of layers) {
    layerOf.set(l.node, l);
    if (l.biasNode !== null) layerOf.set(l.biasNode, l);
  }
  const byScope = scopeIndex(parts);
  return {
    inputs,
    parts,
    layers,
    misses,
    layer: (id) => layerOf.get(id),
    byNode: (id) => around.get(id) ?? (graph.hasNode(id) ? byScope(scopeOf(graph.node(id).name)) : []),
  };
}

/** Finds the parts whose name is a prefix of a scope, outermost first. */
function scopeIndex(parts: readonly Part[]): (scope: string) => readonly Part[] {
  const byName = new Map<string, Part>();
  for (const p of parts) if (p.name.startsWith("/") && !byName.has(p.name)) byName.set(p.name, p);
  return (scope) => {
    const out: Part[] = [];
    let at = "";
    for (const word of scope.split("/").slice(1)) {
      at += `/${word}`;
      const p = byName.get(at);
      if (p !== undefined) out.push(p);
    }
    return out;
  };
}
