import { type Axes, type Axis, axisLength, type PruneAnalysis } from "../../ir/anatomy/groups/index.ts";
import { graphCost } from "../../ir/cost.ts";
import type { PassContext } from "../pass.ts";
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

/** Counts FLOPs of a graph with units removed without removing them. */
export interface FlopCount {
  readonly total: number;
  after(units: ReadonlySet<number>): number;
}

/** Every node's operations shrink with the axes they run over. */
export function flopCount(
  ctx: Pick<PassContext, "model" | "shapes">,
  analysis: PruneAnalysis,
  lengths: Readonly<Record<string, number>>,
): FlopCount {
  const { nodes, flops } = graphCost(ctx.model, { shapes: ctx.shapes(), bindings: lengths });
  const numeric = (axes: Axes): Axis[] =>
    axes.flatMap((axis) => (axisLength(axis) === null ? axis.map((f) => [f]) : [axis]));
  const shareOf = (removal: Removal, axes: readonly Axis[]): number => {
    let share = 1;
    for (const axis of axes) {
      const keep = removal.keep(axis);
      if (keep !== null) share *= keep.length / axisLength(axis)!;
    }
    return share;
  };
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
