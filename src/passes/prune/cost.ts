import { type Axes, type Axis, axisLength, type PruneAnalysis } from "../../ir/anatomy/groups/index.ts";
import { graphCost } from "../../ir/cost.ts";
import { type Tensor, tensorBytes } from "../../ir/tensor.ts";
import { modelBytes } from "../../ir/weights.ts";
import type { PassContext } from "../pass.ts";
import { mega } from "../preview-text.ts";
import { recordedLengths } from "../recorded-lengths.ts";
import { type Removal, removalOf } from "./removal.ts";

/** Length of a symbolic dim that nobody gave. */
const ASSUMED = 64;

/** Lengths of symbolic dims: given, else as sampled, else assumed. The second result names the assumed ones. */
export function lengthsOf(
  ctx: Pick<PassContext, "model" | "oracle">,
  given: Readonly<Record<string, number>>,
): { readonly lengths: Readonly<Record<string, number>>; readonly assumed: readonly string[] } {
  const lengths: Record<string, number> = { ...recordedLengths(ctx), ...given };
  const assumed: string[] = [];
  for (const id of ctx.model.graph.inputs) {
    const { type } = ctx.model.graph.value(id);
    if (type?.kind !== "tensor") continue;
    for (const [axis, d] of (type.shape ?? []).entries()) {
      if (typeof d !== "string" || lengths[d] !== undefined) continue;
      lengths[d] = axis === 0 ? 1 : ASSUMED;
      assumed.push(d);
    }
  }
  return { lengths, assumed };
}

/** Counts what a graph costs with units removed, without removing them. */
export interface CostCount {
  readonly total: number;
  after(units: ReadonlySet<number>): number;
}

/** A cost for messages. */
export const costText = (per: "flops" | "bytes", n: number): string =>
  per === "flops" ? mega(n) : `${Math.round(n)} bytes`;

/** Share of elements that stay. */
function shareOf(removal: Removal, axes: readonly Axis[]): number {
  let share = 1;
  for (const axis of axes) {
    const keep = removal.keep(axis);
    if (keep !== null) share *= keep.length / axisLength(axis)!;
  }
  return share;
}

/** Every constant shrinks along its axes; one that several nodes read counts once. */
function byteCount(ctx: Pick<PassContext, "model">, analysis: PruneAnalysis): CostCount {
  const { graph } = ctx.model;
  const counted = new Map<Tensor, Axes>();
  for (const { node, input, axes } of analysis.uses) {
    const tensor = graph.constant(graph.node(node).inputs[input]);
    if (tensor !== null && !counted.has(tensor)) counted.set(tensor, axes);
  }
  const total = modelBytes(ctx.model);
  return {
    total,
    after(units) {
      const removal = removalOf(analysis, units);
      let left = total;
      for (const [tensor, axes] of counted) left -= tensorBytes(tensor) * (1 - shareOf(removal, axes));
      return left;
    },
  };
}

/** What options want less of. */
export function costCount(
  ctx: Pick<PassContext, "model" | "shapes">,
  analysis: PruneAnalysis,
  o: { readonly per: "flops" | "bytes"; readonly lengths: Readonly<Record<string, number>> },
): CostCount {
  return o.per === "bytes" ? byteCount(ctx, analysis) : flopCount(ctx, analysis, o.lengths);
}

/** Every node's operations shrink with the axes they run over. */
function flopCount(
  ctx: Pick<PassContext, "model" | "shapes">,
  analysis: PruneAnalysis,
  lengths: Readonly<Record<string, number>>,
): CostCount {
  const { nodes, flops } = graphCost(ctx.model, { shapes: ctx.shapes(), bindings: lengths });
  const numeric = (axes: Axes): Axis[] =>
    axes.flatMap((axis) => (axisLength(axis) === null ? axis.map((f) => [f]) : [axis]));
  const counted: { flops: number; axes: readonly Axis[] }[] = [];
  for (const [id, axes] of analysis.work) {
    const cost = nodes.get(id)?.flops ?? 0;
    if (cost > 0) counted.push({ flops: cost, axes: numeric(axes) });
  }
  return {
    total: flops,
    after(units) {
      const removal = removalOf(analysis, units);
      return counted.reduce((sum, c) => sum - c.flops * (1 - shareOf(removal, c.axes)), flops);
    },
  };
}
