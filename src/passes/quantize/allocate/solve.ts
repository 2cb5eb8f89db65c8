import { type Choice, knapsack } from "../../../numeric/knapsack.ts";

/** One choice: its cost, and the noise energy it adds to every measured place (a call, seen by a metric). */
export interface NoisyChoice {
  readonly cost: number;
  readonly noise: Float64Array;
}

/** What is allocated. Noise energies of classes add up; see the additivity check. */
export interface AllocationProblem {
  readonly classes: readonly (readonly NoisyChoice[])[];
  /** Energy of the signal at each place. */
  readonly signal: Float64Array;
  /** Weight of each place in the objective; they sum to 1. */
  readonly weights: Float64Array;
  readonly budget: number;
}

/** One choice per class. */
export interface Allocation {
  readonly picks: readonly number[];
  readonly cost: number;
  /** Noise energy at each place, as the sum predicts. */
  readonly noise: Float64Array;
  /** Objective: see {@link meanDb}. */
  readonly db: number;
  /** dB that one more unit of cost would buy. */
  readonly price: number;
  /** Whether the last knapsack was solved exactly. */
  readonly exact: boolean;
}

/** Noise below this share of the signal (120 dB) counts as that: float32 rounding decides there. */
const FLOOR = 1e-12;
const ROUNDS = 20;
const PER_NAT = 10 / Math.LN10;

/** Weighted mean of the signal-to-noise ratios in dB over places. */
export function meanDb(noise: Float64Array, signal: Float64Array, weights: Float64Array): number {
  let sum = 0;
  for (const [k, w] of weights.entries()) if (w > 0) sum -= w * Math.log(noise[k]! / signal[k]! + FLOOR);
  return PER_NAT * sum;
}

/** Noise energies of a choice of every class, summed. */
function summedNoise(classes: AllocationProblem["classes"], picks: readonly number[]): Float64Array {
  const sum = new Float64Array(classes[0]?.[0]?.noise.length ?? 0);
  for (const [i, p] of picks.entries()) for (const [k, n] of classes[i]![p]!.noise.entries()) sum[k]! += n;
  return sum;
}

/** Derivative of the objective by the noise at each place, in nats. */
function slopes(noise: Float64Array, { signal, weights }: AllocationProblem): Float64Array {
  return weights.map((w, k) => w / (noise[k]! + FLOOR * signal[k]!));
}

/** Noise of each choice as one number: its effect on the objective to first order. */
function harms(classes: AllocationProblem["classes"], slope: Float64Array): Choice[][] {
  return classes.map((choices) =>
    choices.map(({ cost, noise }) => ({ cost, harm: noise.reduce((s, n, k) => s + n * slope[k]!, 0) })),
  );
}

/**
 * The allocation with the highest mean dB within the budget. The mean of logarithms of sums is not a sum over classes,
 * but its tangent is, and lies above the concave logarithm: solving the knapsack of the tangent at the last solution
 * never makes the objective worse (majorisation). Starts from noise relative to the signal. `null` when even the
 * cheapest choices exceed the budget.
 */
export function allocate(problem: AllocationProblem): Allocation | null {
  const { classes, signal, weights, budget } = problem;
  let slope: Float64Array = weights.map((w, k) => w / Math.max(signal[k]!, Number.MIN_VALUE));
  let best: Allocation | null = null;
  for (let round = 0; round < ROUNDS; round++) {
    const found = knapsack(harms(classes, slope), budget);
    if (found === null) return null;
    const noise = summedNoise(classes, found.picks);
    const db = meanDb(noise, signal, weights);
    if (best !== null && db <= best.db) break;
    slope = slopes(noise, problem);
    const { picks, cost, exact } = found;
    best = { picks, cost, noise, db, price: 0, exact };
  }
  // The price at the tangent of the solution itself: its unit is nats of the objective.
  const price = knapsack(harms(classes, slope), budget, 0)!.price * PER_NAT;
  return { ...best!, price };
}

/** Another allocation one or two changes away. */
export interface Neighbour {
  readonly picks: readonly number[];
  readonly cost: number;
}

interface Move {
  readonly of: number;
  readonly to: number;
  readonly cost: number;
  readonly harm: number;
}

/**
 * Allocations that differ in one class, or in one class that gets dearer and one that gets cheaper, within the budget:
 * the `count` with the least predicted harm, best first. `noise` is the noise measured at `picks`, where the tangent
 * is taken.
 */
export function neighbours(
  problem: AllocationProblem,
  at: Neighbour,
  noise: Float64Array,
  count: number,
): Neighbour[] {
  const table = harms(problem.classes, slopes(noise, problem));
  const moves: Move[] = table.flatMap((choices, of) => {
    const now = choices[at.picks[of]!]!;
    return choices.flatMap((c, to) =>
      to === at.picks[of] ? [] : [{ of, to, cost: c.cost - now.cost, harm: c.harm - now.harm }],
    );
  });
  const room = problem.budget - at.cost;
  const found: { readonly moves: readonly Move[]; readonly cost: number; readonly harm: number }[] = [];
  const consider = (...taken: Move[]): void => {
    const cost = taken.reduce((s, m) => s + m.cost, 0);
    if (cost > room) return;
    const harm = taken.reduce((s, m) => s + m.harm, 0);
    if (found.length === count && harm >= found.at(-1)!.harm) return;
    let k = found.length;
    while (k > 0 && found[k - 1]!.harm > harm) k--;
    found.splice(k, 0, { moves: taken, cost, harm });
    if (found.length > count) found.pop();
  };
  for (const m of moves) consider(m);
  for (const up of moves) {
    if (up.cost <= 0) continue;
    for (const down of moves) if (down.cost < 0 && down.of !== up.of) consider(up, down);
  }
  return found.map(({ moves: taken, cost }) => {
    const picks = [...at.picks];
    for (const m of taken) picks[m.of] = m.to;
    return { picks, cost: at.cost + cost };
  });
}
