import type { Graph, Node, ValueId } from "../../ir/graph.ts";
import { captures, subgraphs } from "../../ir/graph.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import type { ValueType } from "../../ir/types.ts";
import { definePass } from "../pass.ts";

/** What reads an integer input. */
interface Readers {
  /** Values of the input's type made by moving its elements about, the input itself first. */
  readonly moved: readonly ValueId[];
  /** Nodes that turn it into another type. */
  readonly casts: readonly Node[];
  /** Why the input must stay as it is; `null` when nothing asks for 64 bits. */
  readonly stuck: string | null;
}

/** Operators whose input at the index is a position, which may be int32 or int64. */
const POSITIONS: ReadonlyMap<string, number> = new Map([
  ["Gather", 1],
  ["GatherElements", 1],
]);

/** Operators whose result has the type of their first input, whatever the types of the others. */
const MOVING: ReadonlySet<string> = new Set([
  "Expand",
  "Flatten",
  "Identity",
  "Reshape",
  "Slice",
  "Squeeze",
  "Tile",
  "Transpose",
  "Unsqueeze",
]);

/** Follows an input through nodes that only move elements to where its type changes or is asked for. */
function readersOf(graph: Graph, input: ValueId, captured: ReadonlySet<ValueId>): Readers {
  const moved: ValueId[] = [];
  const casts: Node[] = [];
  const queue = [input];
  for (let id = queue.shift(); id !== undefined; id = queue.shift()) {
    const stuck = (why: string): Readers => ({ moved, casts, stuck: why });
    moved.push(id);
    if (graph.isOutput(id)) return stuck("it is a graph output too");
    if (captured.has(id)) return stuck("a subgraph reads it");
    for (const user of graph.users(id)) {
      const node = graph.node(user)!;
      const at = node.inputs.flatMap((i, index) => (i === id ? [index] : []));
      const position = node.domain === "" ? POSITIONS.get(node.op) : undefined;
      if (node.domain === "" && node.op === "Cast") casts.push(node);
      else if (position !== undefined && at.every((i) => i === position)) continue;
      else if (node.domain === "" && MOVING.has(node.op) && at.join() === "0")
        queue.push(...node.outputs.filter((o): o is ValueId => o !== null));
      else return stuck(`"${node.name}" (${node.op}) reads it`);
    }
  }
  return { moved, casts, stuck: null };
}

/** Values that subgraphs of the graph's nodes read. */
function capturedValues(graph: Graph): Set<ValueId> {
  const found = new Set<ValueId>();
  for (const node of graph.nodes())
    for (const g of subgraphs(node)) for (const id of captures(g)) found.add(id);
  return found;
}

export const narrowInputs = definePass<Record<string, never>>({
  name: "narrow-inputs",
  family: "legalise",
  summary: "Takes timesteps and other integer inputs as int32 where the target cannot compute with int64",
  doc: `Exporters feed a timestep as int64, and its first use is a Cast. A provider without 64-bit integers leaves that
Cast, and the Unsqueeze before it, on the CPU. In practice that costs nothing: the timestep comes from the CPU. But a
session that forbids the fallback, so that nothing can land there unseen, does not open. This pass makes such inputs
int32; every value an int32 can hold gives the same result.

Opt-in, because it changes the type of a graph input, which a caller has to feed: a recipe asks for it with
\`output: { integers: narrow }\`. Inputs that are only
looked up in tables (tokens, class labels) stay as they are, since providers take int64 positions, and so do inputs that
anything else reads. Does nothing where the target computes with int64.`,
  effect: "exact",
  options: { type: "object", additionalProperties: false, properties: {} },
  version: 1,
  run(graph, _options, ctx) {
    const limit = ctx.target?.int64;
    if (limit === undefined) return;
    const captured = capturedValues(graph);
    for (const input of [...graph.inputs]) {
      const { name, type } = graph.value(input);
      if (type?.kind !== "tensor" || type.dtype !== "i64") continue;
      const { moved, casts, stuck } = readersOf(graph, input, captured);
      if (stuck !== null) {
        ctx.decide({ node: name, kind: "skipped", rule: "narrow-input", why: stuck, from: "i64", to: "i64" });
        continue;
      }
      if (casts.length === 0) continue;
      const patch = new PatchBuilder(graph, "narrow-inputs");
      for (const id of moved) {
        const declared: ValueType | null = graph.value(id).type;
        if (declared?.kind === "tensor") patch.retype(id, { ...declared, dtype: "i32" });
      }
      patch.apply();
      ctx.decide({
        node: name,
        kind: "applied",
        rule: "narrow-input",
        why: limit.why,
        from: "i64",
        to: "i32",
        count: moved.length - 1 + casts.length,
      });
    }
  },
});
