import type { Dense } from "../../../ir/evaluator.ts";
import {
  Graph,
  IdSource,
  type Model,
  type Node,
  type NodeId,
  type Value,
  type ValueId,
} from "../../../ir/graph.ts";
import { inlineTensor, type Tensor } from "../../../ir/tensor.ts";
import type { PassContext } from "../../pass.ts";

/** The nodes as a model of their own, whose outputs are the values others read. `made` are results already at hand. */
function fragment(
  graph: Graph,
  nodes: readonly Node[],
  ctx: PassContext,
  made: ReadonlyMap<ValueId, Dense>,
): { model: Model; outputs: Map<string, ValueId> } {
  const inside = new Set(nodes.map((n) => n.id));
  const values = new Map<ValueId, Value>();
  const outputs = new Map<string, ValueId>();
  for (const node of nodes) {
    for (const i of node.inputs) {
      if (i === null || values.has(i)) continue;
      const dense = made.get(i);
      values.set(i, dense === undefined ? graph.value(i) : { ...graph.value(i), init: denseTensor(dense) });
    }
    for (const o of node.outputs) {
      if (o === null) continue;
      const read = graph.isOutput(o) || graph.users(o).some((u) => !inside.has(u));
      // Graph outputs need a declared element type for the runtime.
      const type = ctx.shapes().type(o);
      values.set(o, { ...graph.value(o), type });
      if (read) outputs.set(graph.value(o).name, o);
    }
  }
  const body = new Graph({
    ids: new IdSource(),
    name: "fold",
    nodes,
    values: values.values(),
    inputs: [],
    outputs: [...outputs.values()],
  });
  return { model: { ...ctx.model, graph: body, functions: [], meta: {} }, outputs };
}

/** An evaluated result as a constant. */
export function denseTensor(dense: Dense): Tensor {
  return inlineTensor(dense.dtype, dense.dims, dense.bytes);
}

/** Runs constant nodes; a batch the runtime refuses is halved until the single node it refuses is found. */
export async function evaluate(
  graph: Graph,
  nodes: readonly Node[],
  ctx: PassContext,
  refused: Map<NodeId, string>,
): Promise<{ values: Map<ValueId, Dense>; done: Node[] }> {
  const values = new Map<ValueId, Dense>();
  const done: Node[] = [];
  const attempt = async (batch: readonly Node[]): Promise<void> => {
    const at = (id: ValueId): boolean => graph.constant(id) !== null || values.has(id);
    const made = new Set<ValueId>();
    const part = batch.filter((n) => {
      const ready = n.inputs.every((i) => i === null || at(i) || made.has(i));
      if (ready) for (const o of n.outputs) if (o !== null) made.add(o);
      return ready;
    });
    if (part.length === 0) return;
    const { model, outputs } = fragment(graph, part, ctx, values);
    try {
      const results = await ctx.evaluator.run(model, new Map());
      for (const [name, id] of outputs) values.set(id, results.get(name)!);
      done.push(...part);
    } catch (error) {
      if (part.length === 1) {
        refused.set(part[0]!.id, error instanceof Error ? error.message.split("\n")[0]! : String(error));
        return;
      }
      const half = Math.ceil(part.length / 2);
      await attempt(part.slice(0, half));
      await attempt(part.slice(half));
    }
  };
  await attempt(nodes);
  return { values, done };
}
