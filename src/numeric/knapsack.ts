/** One way to treat a class: what it costs and what it harms. Both finite, cost at least 0. */
export interface Choice {
  readonly cost: number;
  readonly harm: number;
}

/** One choice per class. */
export interface Selection {
  /** Index of the choice, per class. */
  readonly picks: readonly number[];
  readonly cost: number;
  readonly harm: number;
}

/** A selection and how far from the best it can be. */
export interface Solution extends Selection {
  /** Harm of the linear relaxation: no selection within the budget has less. */
  readonly bound: number;
  /** Harm that one more unit of cost would save where the budget ran out; 0 when everything has its best choice. */
  readonly price: number;
  /** The selection is the best one; otherwise the search ran into its limit and `harm - bound` is the gap at most. */
  readonly exact: boolean;
}

/** A move from one choice of a class to a dearer one with less harm. */
interface Step {
  readonly of: number;
  readonly to: number;
  readonly cost: number;
  /** Harm saved. */
  readonly gain: number;
}

/** States kept by the exact search before it gives up. */
const STATES = 200_000;

/**
 * Choices on the lower convex hull of (cost, harm), cheapest first: every other choice is worse than a mixture of two of
 * these. Of equal points the first stays.
 */
export function convexHull(choices: readonly Choice[]): number[] {
  const order = choices
    .map((_, i) => i)
    .sort((a, b) => choices[a]!.cost - choices[b]!.cost || choices[a]!.harm - choices[b]!.harm || a - b);
  const hull: number[] = [];
  for (const i of order) {
    const c = choices[i]!;
    if (hull.length > 0 && choices[hull.at(-1)!]!.harm <= c.harm) continue;
    while (hull.length >= 2) {
      const [a, b] = [choices[hull.at(-2)!]!, choices[hull.at(-1)!]!];
      if ((b.harm - a.harm) * (c.cost - a.cost) < (c.harm - a.harm) * (b.cost - a.cost)) break;
      hull.pop();
    }
    // A point of the same cost and less harm replaces the first one.
    if (hull.length === 1 && choices[hull[0]!]!.cost === c.cost) hull.pop();
    hull.push(i);
  }
  return hull;
}

/** Steps along the hulls, the one that saves most per cost first. */
function stepsOf(classes: readonly (readonly Choice[])[], hulls: readonly (readonly number[])[]): Step[] {
  const steps = hulls.flatMap((hull, of) =>
    hull.slice(1).map((to, k): Step => {
      const [a, b] = [classes[of]![hull[k]!]!, classes[of]![to]!];
      return { of, to, cost: b.cost - a.cost, gain: a.harm - b.harm };
    }),
  );
  return steps.sort((a, b) => b.gain * a.cost - a.gain * b.cost || a.of - b.of || a.cost - b.cost);
}

function total(classes: readonly (readonly Choice[])[], picks: readonly number[]): Selection {
  let [cost, harm] = [0, 0];
  for (const [i, p] of picks.entries()) {
    cost += classes[i]![p]!.cost;
    harm += classes[i]![p]!.harm;
  }
  return { picks, cost, harm };
}

/**
 * Walks along the hulls by falling gain per cost (Sinha and Zoltners 1979). The first step that does not fit gives the
 * price and the bound of the relaxation; later ones are still taken where they fit.
 */
function greedy(
  classes: readonly (readonly Choice[])[],
  budget: number,
): Selection & { readonly bound: number; readonly price: number } {
  const hulls = classes.map(convexHull);
  const picks = hulls.map((h) => h[0]!);
  const start = total(classes, picks);
  let left = budget - start.cost;
  let bound = start.harm;
  let price: number | null = null;
  const stuck = new Set<number>();
  for (const s of stepsOf(classes, hulls)) {
    if (stuck.has(s.of)) continue;
    if (s.cost <= left) {
      picks[s.of] = s.to;
      left -= s.cost;
      if (price === null) bound -= s.gain;
      continue;
    }
    if (price === null) {
      price = s.gain / s.cost;
      bound -= price * left;
    }
    stuck.add(s.of);
  }
  return { ...total(classes, picks), bound, price: price ?? 0 };
}

/** By index: least harm that the classes from there on can have with some budget, by their linear relaxation. */
function suffixBounds(classes: readonly (readonly Choice[])[]): ((left: number) => number)[] {
  const hulls = classes.map(convexHull);
  const steps = stepsOf(classes, hulls);
  return Array.from({ length: classes.length + 1 }, (_, from) => {
    let [least, harm] = [0, 0];
    for (let i = from; i < classes.length; i++) {
      const c = classes[i]![hulls[i]![0]!]!;
      least += c.cost;
      harm += c.harm;
    }
    const own = steps.filter((s) => s.of >= from);
    const costs = new Float64Array(own.length + 1);
    const harms = new Float64Array(own.length + 1);
    harms[0] = harm;
    for (const [k, s] of own.entries()) {
      costs[k + 1] = costs[k]! + s.cost;
      harms[k + 1] = harms[k]! - s.gain;
    }
    return (left: number): number => {
      const room = left - least;
      if (room < 0) return Number.POSITIVE_INFINITY;
      let [low, high] = [0, own.length];
      while (low < high) {
        const mid = (low + high + 1) >> 1;
        if (costs[mid]! <= room) low = mid;
        else high = mid - 1;
      }
      if (low === own.length) return harms[low]!;
      const s = own[low]!;
      return harms[low]! - (s.gain * (room - costs[low]!)) / s.cost;
    };
  });
}

/** A partial selection; `before` is the one it extends. */
interface State {
  readonly cost: number;
  readonly harm: number;
  readonly pick: number;
  readonly before: State | null;
}

/**
 * Dynamic programming over undominated (cost, harm) pairs (Nemhauser and Ullmann 1969), without those whose relaxation
 * cannot beat the selection known already. `null` when more than `limit` pairs would be kept.
 */
function exact(
  classes: readonly (readonly Choice[])[],
  budget: number,
  known: Selection,
  limit: number,
): Selection | null {
  const bounds = suffixBounds(classes);
  let states: State[] = [{ cost: 0, harm: 0, pick: -1, before: null }];
  for (const [i, choices] of classes.entries()) {
    const bound = bounds[i + 1]!;
    const next: State[] = [];
    for (const before of states) {
      for (const [pick, c] of choices.entries()) {
        const cost = before.cost + c.cost;
        const harm = before.harm + c.harm;
        if (harm + bound(budget - cost) < known.harm) next.push({ cost, harm, pick, before });
      }
      if (next.length > limit * 8) return null;
    }
    next.sort((a, b) => a.cost - b.cost || a.harm - b.harm);
    states = [];
    for (const s of next) if (states.length === 0 || s.harm < states.at(-1)!.harm) states.push(s);
    if (states.length > limit) return null;
  }
  let best: State | null = states.at(-1) ?? null;
  if (best === null) return known;
  const picks: number[] = [];
  for (; best.before !== null; best = best.before) picks.push(best.pick);
  return total(classes, picks.reverse());
}

/** Picks of least cost, and of these least harm; what a budget must at least allow. */
export function cheapest(classes: readonly (readonly Choice[])[]): Selection {
  return total(
    classes,
    classes.map((choices) => convexHull(choices)[0]!),
  );
}

/**
 * The multiple-choice knapsack: one choice per class so that costs stay within the budget and the sum of harms is
 * least. Exact unless more than `limit` undominated partial selections are in play; then the walk along the convex
 * hulls, whose gap `bound` tells. `null` when even the cheapest choices exceed the budget. Same input, same picks.
 */
export function knapsack(
  classes: readonly (readonly Choice[])[],
  budget: number,
  limit = STATES,
): Solution | null {
  if (cheapest(classes).cost > budget) return null;
  const { bound, price, ...walked } = greedy(classes, budget);
  const found = exact(classes, budget, walked, limit);
  return { ...(found ?? walked), bound, price, exact: found !== null };
}
