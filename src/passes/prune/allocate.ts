import type { CostCount } from "./cost.ts";
import type { Cut } from "./levels.ts";

/** A deeper level of one group. */
interface Step {
  readonly cut: number;
  readonly level: number;
  /** Harm per FLOP or byte saved. */
  readonly price: number;
}

/** Units of a group at a level; -1 is whole. */
export function unitsAt(cut: Cut, level: number): number[] {
  const count = level < 0 ? 0 : cut.levels[level]!.count;
  return cut.order.slice(0, count).map((i) => cut.group.units[i]!);
}

/** Levels on the lower convex hull of savings and harm, from shallow to deep. */
function hull(cut: Cut, index: number, cost: CostCount): Step[] {
  const points = cut.levels.map((l, level) => ({
    level,
    harm: l.harm,
    saved: cost.total - cost.after(new Set(unitsAt(cut, level))),
  }));
  const steps: Step[] = [];
  let [harm, saved, from] = [0, 0, -1];
  while (from < points.length - 1) {
    let best: { price: number; at: number } | null = null;
    for (let i = from + 1; i < points.length; i++) {
      const p = points[i]!;
      if (p.saved <= saved) continue;
      const price = (p.harm - harm) / (p.saved - saved);
      if (best === null || price <= best.price) best = { price, at: i };
    }
    if (best === null) break;
    steps.push({ cut: index, level: points[best.at]!.level, price: best.price });
    ({ harm, saved } = points[best.at]!);
    from = best.at;
  }
  return steps;
}

/** Level per group, -1 for whole, and what is left of the cost. */
export interface Spread {
  readonly levels: readonly number[];
  readonly cost: number;
}

/** Rounds of weighing calls anew by the error they end up with. */
const REWEIGHTINGS = 4;

/**
 * As {@link spread}, for levels measured call by call: minimises Σ √(relative error) over calls, between the mean of
 * errors, which the worst step of the trajectory decides alone, and the mean in decibels, which forgets it.
 */
export function spreadOverCalls(cuts: readonly Cut[], cost: CostCount, limit: number): Spread {
  const calls = cuts.flatMap((c) => c.levels).find((l) => l.byCall !== undefined)?.byCall?.length;
  if (calls === undefined) return spread(cuts, cost, limit);
  let weights = new Float64Array(calls).fill(1);
  const weighed = (): Cut[] =>
    cuts.map((c) => ({
      ...c,
      levels: c.levels.map((l) => ({
        ...l,
        harm: l.byCall?.reduce((sum, n, i) => sum + n * weights[i]!, 0) ?? l.harm,
      })),
    }));
  let found = spread(weighed(), cost, limit);
  for (let r = 0; r < REWEIGHTINGS; r++) {
    const noise = new Float64Array(calls);
    for (const [i, c] of cuts.entries())
      for (const [k, n] of (c.levels[found.levels[i]!]?.byCall ?? []).entries()) noise[k] = noise[k]! + n;
    weights = noise.map((n) => 1 / Math.sqrt(Math.max(n, 1e-12)));
    found = spread(weighed(), cost, limit);
  }
  return found;
}

/** Takes the cheapest steps until the cost is at most `limit`, or everything that can go is gone. */
function spread(cuts: readonly Cut[], cost: CostCount, limit: number): Spread {
  const steps = cuts
    .flatMap((c, i) => hull(c, i, cost))
    .sort((a, b) => a.price - b.price || a.cut - b.cut || a.level - b.level);
  const at = (n: number): Spread => {
    const levels = cuts.map(() => -1);
    for (const s of steps.slice(0, n)) levels[s.cut] = Math.max(levels[s.cut]!, s.level);
    const units = new Set(cuts.flatMap((c, i) => unitsAt(c, levels[i]!)));
    return { levels, cost: cost.after(units) };
  };
  if (at(0).cost <= limit) return at(0);
  let [low, high] = [0, steps.length];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (at(middle).cost <= limit) high = middle;
    else low = middle;
  }
  return at(high);
}
