import { type Node, type NodeId, opKey, type ValueId } from "../graph.ts";
import type { Workshop } from "./draft.ts";
import type { ResidualJoin } from "./types.ts";
import { plainSource } from "./walk.ts";

/** Longest way from a branch's last layer to the addition that joins it to the stream. */
const MAX_STEPS = 8;

/** Where the branch that ends in `value` joins the residual stream, and the nodes on the way. */
export function residualAfter(
  w: Workshop,
  value: ValueId,
): { readonly join: ResidualJoin; readonly nodes: readonly NodeId[] } | null {
  const { flow } = w;
  const passed: Node[] = [];
  let gate: ValueId | null = null;
  let at = value;
  for (let step = 0; step < MAX_STEPS; step++) {
    const users = flow.users(at);
    const node = users[0];
    if (users.length !== 1 || node === undefined || flow.graph.isOutput(at)) return null;
    const out = node.outputs[0];
    if (out === null || out === undefined) return null;
    const name = opKey(node);
    const other = node.inputs.find((i) => i !== null && i !== at) ?? null;
    if (name === "Add" && other !== null && flow.mask(other) !== 0 && !w.isConditioning(other)) {
      passed.push(node);
      return {
        join: { add: node.id, stream: other, output: out, gate },
        nodes: passed.map((n) => n.id),
      };
    }
    if (name === "Mul" && other !== null && w.isConditioning(other)) gate = other;
    else if (plainSource(flow, node) !== at) return null;
    passed.push(node);
    at = out;
  }
  return null;
}
