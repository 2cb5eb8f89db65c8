import { knapsack } from "../../numeric/knapsack.ts";
import { type ProductWork, productSeconds } from "../../targets/cost/product.ts";
import type { Target } from "../../targets/target.ts";

/** One way to write a group of layers. */
export interface Candidate<Ranks> {
  readonly ranks: Ranks;
  readonly work: readonly ProductWork[];
  /** Relative error of the group's output. */
  readonly error: number;
}

/** A group of layers with its candidates, those that do not pay left out. */
export interface Classed<Ranks> {
  readonly original: readonly ProductWork[];
  readonly candidates: readonly Candidate<Ranks>[];
  /** What a unit of relative error does. */
  readonly harm: number;
}

/** Operations of some products. */
export function flopsOf(work: readonly ProductWork[]): number {
  return work.reduce((n, w) => n + w.flops, 0);
}

/** Why a form does not pay on the target; `null` where it takes fewer operations and is not estimated to be slower. */
export function obstacle(
  target: Target | null,
  original: readonly ProductWork[],
  work: readonly ProductWork[],
): string | null {
  const [before, after] = [flopsOf(original), flopsOf(work)];
  if (after >= before) return "the factors take as many operations as the layer";
  const [slow, fast] = [productSeconds(target, original), productSeconds(target, work)];
  if (slow !== null && fast !== null && fast >= slow)
    return "the factors take fewer operations but, by the target's cost model, no less time";
  return null;
}

/** What was chosen: an index into each group's candidates, `null` where it stays as it is. */
export interface Allocation {
  readonly picks: readonly (number | null)[];
  /** Share of operations left. */
  readonly kept: number;
  /** Whether the share asked for could be reached. */
  readonly reached: boolean;
}

/**
 * Least sum of harms within a share of all operations: a multiple-choice knapsack whose first choice leaves a group as
 * it is. Where even the smallest forms take more, those.
 */
export function allocate<Ranks>(groups: readonly Classed<Ranks>[], keep: number): Allocation {
  const classes = groups.map((g) => [
    { cost: flopsOf(g.original), harm: 0 },
    ...g.candidates.map((c) => ({ cost: flopsOf(c.work), harm: g.harm * c.error })),
  ]);
  const all = groups.reduce((n, g) => n + flopsOf(g.original), 0);
  const least = classes.map((c) => c.reduce((best, x, i) => (x.cost < c[best]!.cost ? i : best), 0));
  const found = knapsack(classes, keep * all);
  const picks = found?.picks ?? least;
  const cost = picks.reduce((n, p, i) => n + classes[i]![p]!.cost, 0);
  return {
    picks: picks.map((p) => (p === 0 ? null : p - 1)),
    kept: all === 0 ? 1 : cost / all,
    reached: found !== null,
  };
}
