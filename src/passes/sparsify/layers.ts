import { elementCount } from "../../ir/dtype.ts";
import type { Graph } from "../../ir/graph.ts";
import { tensorBytes } from "../../ir/tensor.ts";
import { misfit, patternOf } from "../../numeric/sparsify/pattern.ts";
import { fittable } from "../../targets/lower/weights.ts";
import type { PassContext } from "../pass.ts";
import { type Guard, guardedLayers } from "../quantize/guards.ts";
import { type Layer, weightLayers } from "../quantize/layers.ts";
import { optionPattern } from "../quantize/pattern.ts";
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
  const left = new Map<string, { rule: string; layers: Layer[] }>();
  const leave = (layer: Layer, rule: string, why: string): void => {
    const known = left.get(why);
    if (known === undefined) left.set(why, { rule, layers: [layer] });
    else known.layers.push(layer);
  };
  const taken: Layer[] = [];
  for (const layer of weightLayers(graph, ctx.shapes())) {
    const { name } = layer.node;
    const guard = guards.get(layer.node.id);
    const problem = obstacle(layer, o);
    if (match?.test(name) === false || exclude?.test(name) === true)
      leave(layer, "selection", "its name is not selected by match and exclude");
    else if (elementCount(layer.tensor.dims) < o.minElements)
      leave(layer, "min-elements", `it has fewer than ${o.minElements} elements`);
    else if (guard !== undefined && o.guards) leave(layer, `guard-${guard}`, WHY[guard]);
    else if (problem !== null) leave(layer, "pattern", problem);
    else taken.push(layer);
  }
  for (const [why, { rule, layers }] of left)
    ctx.decide({
      node: layers.length === 1 ? layers[0]!.node.name : "",
      kind: "skipped",
      rule,
      why,
      count: layers.length,
      bytesBefore: layers.reduce((n, l) => n + tensorBytes(l.tensor), 0),
    });
  return shared(
    graph,
    taken.map((layer) => ({ layer, format: "f32", guard: null })),
    ctx,
  );
}
