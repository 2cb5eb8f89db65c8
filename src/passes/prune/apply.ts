import type { PruneAnalysis } from "../../ir/anatomy/groups/index.ts";
import type { Model, NodeId } from "../../ir/graph.ts";
import { inferShapes } from "../../ir/infer.ts";
import { PatchBuilder } from "../../ir/patch.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { selectTensor } from "../../runtime/kernels/select.ts";
import { type Removal, removalOf, touches } from "./removal.ts";
import { applyFix, type Edit, movedLengths } from "./shapes.ts";

/** Constants in place of others, of the same size, by {@link useKey}; removal cuts them like the originals. */
export type Overrides = ReadonlyMap<string, Tensor>;

/** One input of one node. */
export const useKey = (node: NodeId, input: number): string => `${node}:${input}`;

/**
 * Takes units out of a graph: constants lose the indices of their axes that belong to them, shapes and attributes follow.
 * Nothing else changes; a constant that several nodes read is cut for each as it needs.
 */
export function removeUnits(
  model: Model,
  analysis: PruneAnalysis,
  units: ReadonlySet<number>,
  overrides: Overrides = new Map(),
): void {
  const { graph } = model;
  const removal = removalOf(analysis, units);
  const patch = new PatchBuilder(graph, "prune");
  const edits = new Map<NodeId, Edit>();
  const editOf = (id: NodeId): Edit => {
    const node = graph.node(id);
    const edit = edits.get(id) ?? { node, inputs: [...node.inputs], attrs: new Map(node.attrs) };
    edits.set(id, edit);
    return edit;
  };
  for (const { node, input, axes } of analysis.uses) {
    const value = graph.value(graph.node(node).inputs[input]!);
    const own = overrides.get(useKey(node, input));
    let tensor = own ?? value.init!;
    for (const [axis, factors] of axes.entries()) {
      const keep = removal.keep(factors);
      if (keep !== null) tensor = selectTensor(tensor, { axis, keep });
    }
    if (tensor === value.init) continue;
    editOf(node).inputs[input] = patch.constant(tensor, `${value.name}_kept`);
  }
  const opset = model.opsets.get("") ?? 1;
  const moved = movedLengths(graph, inferShapes(model), analysis, removal);
  for (const [id, fixes] of analysis.fixes)
    for (const fix of fixes) {
      const edit = editOf(id);
      applyFix(edit, fix, { graph, patch, analysis, removal, opset, moved });
    }
  for (const { node, inputs, attrs } of edits.values()) {
    const changed =
      inputs.some((v, i) => v !== node.inputs[i]) || [...attrs].some(([k, v]) => node.attrs.get(k) !== v);
    if (changed) patch.replace(node, { inputs, attrs });
  }
  for (const [id, axes] of analysis.values)
    if (graph.value(id).type !== null && axes.some((a) => touches(removal, a))) patch.retype(id, null);
  patch.apply();
}

/** Names of values whose inferred shape is not what the removal should have left: none, or the analysis is wrong. */
export function shapeErrors(model: Model, analysis: PruneAnalysis, removal: Removal): string[] {
  const shapes = inferShapes(model);
  const out: string[] = [];
  for (const [id, axes] of analysis.values) {
    const found = model.graph.find(id);
    const shape = found === undefined ? null : shapes.shape(id);
    if (found === undefined || shape === null) continue;
    const wrong = axes.some((a, i) => {
      const length = removal.length(a);
      return length !== null && a.length > 0 && shape[i] !== length;
    });
    if (wrong || shape.length !== axes.length) out.push(found.name);
  }
  return out;
}
