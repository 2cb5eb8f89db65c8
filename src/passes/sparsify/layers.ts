import { elementCount } from "../../ir/dtype.ts";
import type { Graph } from "../../ir/graph.ts";
import { misfit, patternOf } from "../../numeric/sparsify/pattern.ts";
import { fittable } from "../../targets/lower/weights.ts";
import { optionPattern } from "../option-pattern.ts";
import type { PassContext } from "../pass.ts";
import { type Guard, guardedLayers } from "../quantize/guards.ts";
import { type Layer, weightLayers } from "../quantize/layers.ts";
import { leftLayers } from "../quantize/left-layers.ts";
import { type Shared, shared } from "../quantize/plan.ts";
import type { SparsifyWeightsOptions } from "./options.ts";

const WHY: Readonly<Record<Guard, string>> = {
  edge: "first and last layers are the most sensitive",
  time: "the time embedding reaches every block",
  sampler: "changes of resolution are sensitive",
  shortcut: "the bypass of a block is sensitive",
};

/** Taps of a kernel behind each input channel of a layer's weight. */
export function tapsOf({ tensor, role }: Layer): number {
  return elementCount(tensor.dims) / (tensor.dims[role.outAxis]! * tensor.dims[role.inAxis]!);
}

/** Why a weight cannot take the pattern; `null` when it can. */
function obstacle({ tensor, role }: Layer, o: SparsifyWeightsOptions): string | null {
  if (!fittable({ tensor, ...role })) return "the output channels lie between summed axes";
  return misfit(patternOf(o.pattern, o.ratio), tensor.dims[role.outAxis]!, tensor.dims[role.inAxis]!);
}

/** Weights that get zeros, by weight; layers that do not are decided on, with counts by reason. */
export function sparsifiable(
  graph: Graph,
  o: SparsifyWeightsOptions,
  ctx: Pick<PassContext, "model" | "shapes" | "decide">,
): Shared[] {
  const match = optionPattern("sparsify-weights", "match", o.match);
  const exclude = optionPattern("sparsify-weights", "exclude", o.exclude);
  const guards = guardedLayers(ctx);
  const left = leftLayers();
  const taken: Layer[] = [];
  for (const layer of weightLayers(graph, ctx.shapes())) {
    const { name } = layer.node;
    const guard = guards.get(layer.node.id);
    const problem = obstacle(layer, o);
    if (match?.test(name) === false || exclude?.test(name) === true)
      left.leave(layer, "selection", "its name is not selected by match and exclude");
    else if (elementCount(layer.tensor.dims) < o.minElements)
      left.leave(layer, "min-elements", `it has fewer than ${o.minElements} elements`);
    else if (guard !== undefined && o.guards) left.leave(layer, `guard-${guard}`, WHY[guard]);
    else if (problem !== null) left.leave(layer, "pattern", problem);
    else taken.push(layer);
  }
  left.decide(ctx);
  return shared(
    graph,
    taken.map((layer) => ({ layer, format: "f32", guard: null })),
    ctx,
  );
}
