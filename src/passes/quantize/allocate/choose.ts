import type { Damage } from "../../../calibrate/switchboard.ts";
import { fail } from "../../../diagnostics/index.ts";
import type { Price } from "./budget.ts";
import type { Candidates } from "./candidates.ts";
import type { Bench } from "./measure.ts";
import { type Metric, type Mix, metricDb, mixesOf, places, placeWeights } from "./metric.ts";
import { type AllocationProblem, allocate, meanDb, type Neighbour, neighbours } from "./solve.ts";

/** The forms chosen, with what was measured of them together. */
export interface Chosen {
  readonly picks: readonly number[];
  readonly cost: number;
  readonly mix: Mix;
  readonly damage: Damage;
  readonly quality: number;
  /** `null` without a condition. */
  readonly content: number | null;
  /** dB of the objective that one more unit of the budget would buy. */
  readonly price: number;
  /** dB the solver expected of the objective by summing noises, and dB measured, before refinement. */
  readonly predicted: number;
  readonly measured: number;
  /** dB of the objective that refinement gained, and allocations it measured. */
  readonly gained: number;
  readonly tried: number;
}

/** What {@link choose} works on. */
export interface Choosing {
  readonly bench: Bench;
  readonly weights: readonly Candidates[];
  readonly damages: readonly (readonly Damage[])[];
  readonly price: Price;
  readonly metric: Metric;
  readonly contentTolerance: number;
  readonly refine: number;
}

function problemOf(c: Choosing, mix: Mix): AllocationProblem {
  return {
    classes: c.weights.map((w, i) =>
      w.options.map((o, k) => ({ cost: c.price.cost(w, o), noise: places(c.damages[i]![k]!) })),
    ),
    signal: places(c.bench.signal),
    weights: placeWeights(c.bench, mix),
    budget: c.price.limit,
  };
}

async function measure(c: Choosing, picks: readonly number[]): Promise<Damage> {
  return await c.bench.measure(new Map(picks.entries()));
}

/** Climbs from one allocation to the best of its measured neighbours until `refine` of them were measured. */
async function refined(c: Choosing, start: Chosen): Promise<Chosen> {
  const problem = problemOf(c, start.mix);
  const objective = (d: Damage): number => meanDb(places(d), problem.signal, problem.weights);
  let best: { at: Neighbour; damage: Damage; db: number } = {
    at: start,
    damage: start.damage,
    db: start.measured,
  };
  const seen = new Set([start.picks.join()]);
  let tried = 0;
  while (tried < c.refine) {
    // Those seen already are at most as many as were tried.
    const near = neighbours(problem, best.at, places(best.damage), c.refine + tried + 1);
    const next = near.find((n) => !seen.has(n.picks.join()));
    if (next === undefined) break;
    seen.add(next.picks.join());
    tried++;
    const damage = await measure(c, next.picks);
    const db = objective(damage);
    if (db > best.db) best = { at: next, damage, db };
  }
  return {
    ...start,
    ...scored(c, best.at, best.damage),
    gained: best.db - start.measured,
    tried,
  };
}

function scored(
  c: Choosing,
  at: Neighbour,
  damage: Damage,
): Pick<Chosen, "picks" | "cost" | "damage" | "quality" | "content"> {
  return {
    picks: at.picks,
    cost: at.cost,
    damage,
    quality: metricDb(c.bench, damage, "quality")!,
    content: metricDb(c.bench, damage, "content"),
  };
}

function least(weights: readonly Candidates[], price: Price): number {
  return weights.reduce((sum, w) => sum + Math.min(...w.options.map((o) => price.cost(w, o))), 0);
}

function impossible(weights: readonly Candidates[], price: Price): never {
  return fail("ALLOCATION_IMPOSSIBLE", {
    limit: price.limit,
    least: least(weights, price),
    unit: price.unit,
  });
}

/** Fails with ALLOCATION_IMPOSSIBLE when the smallest forms together exceed the budget. */
export function checkBudget(weights: readonly Candidates[], price: Price): void {
  if (least(weights, price) > price.limit) impossible(weights, price);
}

/**
 * The best allocation within the budget: solved from the single damages for each mixture of the metrics, measured as a
 * whole, then refined. Fails with ALLOCATION_IMPOSSIBLE.
 */
export async function choose(c: Choosing): Promise<Chosen> {
  const all: Chosen[] = [];
  for (const mix of mixesOf(c.metric, c.bench)) {
    const problem = problemOf(c, mix);
    const solved = allocate(problem);
    if (solved === null) return impossible(c.weights, c.price);
    const damage = await measure(c, solved.picks);
    all.push({
      ...scored(c, solved, damage),
      mix,
      price: solved.price,
      predicted: solved.db,
      measured: meanDb(places(damage), problem.signal, problem.weights),
      gained: 0,
      tried: 0,
    });
  }
  const contents = all.flatMap((a) => a.content ?? []);
  const enough = Math.max(...contents) - c.contentTolerance;
  const able = c.metric === "both" ? all.filter((a) => a.content === null || a.content >= enough) : all;
  return await refined(
    c,
    able.reduce((a, b) => (b.quality > a.quality ? b : a)),
  );
}
