import type { Graph, NodeId, ValueId } from "../../ir/graph.ts";
import { nodeReads } from "../../ir/graph.ts";
import { opSpec } from "../../ir/ops/index.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import { definePass } from "../pass.ts";

/** Nodes no graph output depends on. ONNX nodes have no side effects. */
function deadNodes(graph: Graph): NodeId[] {
  const live = new Set<ValueId>(graph.outputs);
  const dead: NodeId[] = [];
  for (const node of [...graph.nodes()].reverse()) {
    if (node.outputs.some((o) => o !== null && live.has(o))) for (const r of nodeReads(node)) live.add(r);
    else dead.push(node.id);
  }
  return dead;
}

export const removeDead = definePass<Record<string, never>>({
  name: "remove-dead",
  family: "clean",
  summary: "Removes nodes, optional outputs and constants that no graph output depends on",
  doc: `Walks back from the graph outputs. Nodes that are not reached go, then trailing optional outputs nobody reads
(the mask of Dropout, the mean of LayerNormalization), then constants nobody reads. Graph inputs always stay, because
they are part of the signature.`,
  effect: "exact",
  options: { type: "object", additionalProperties: false, properties: {} },
  version: 1,
  run(graph, _options, ctx) {
    const dead = deadNodes(graph);
    const nodes = new PatchBuilder(graph, "remove-dead");
    nodes.remove(...dead);
    if (nodes.apply()) ctx.decide({ node: "", kind: "applied", rule: "dead-node", count: dead.length });

    const outputs = new PatchBuilder(graph, "remove-dead");
    let trimmed = 0;
    for (const node of graph.nodes()) {
      const spec = opSpec(node.domain, node.op);
      // How many outputs a variadic operator has is part of what it computes: Split's lengths count them.
      if (spec === undefined || !Number.isFinite(spec.outputs.max)) continue;
      const keep = Math.max(spec.outputs.min, 1);
      let end = node.outputs.length;
      while (end > keep && unread(graph, node.outputs[end - 1])) end--;
      if (end === node.outputs.length) continue;
      outputs.replace(node, { outputs: node.outputs.slice(0, end) });
      trimmed++;
    }
    if (outputs.apply()) ctx.decide({ node: "", kind: "applied", rule: "unread-output", count: trimmed });

    const constants = new PatchBuilder(graph, "remove-dead");
    let dropped = 0;
    for (const value of graph.values()) {
      if (value.init === null || graph.inputs.includes(value.id) || !unread(graph, value.id)) continue;
      constants.drop(value.id);
      dropped++;
    }
    if (constants.apply()) ctx.decide({ node: "", kind: "applied", rule: "unread-constant", count: dropped });
  },
});

function unread(graph: Graph, id: ValueId | null | undefined): boolean {
  return id === null || id === undefined || (!graph.isOutput(id) && graph.users(id).length === 0);
}
