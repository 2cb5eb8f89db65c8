import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Choice, cheapest, convexHull, knapsack, type Selection } from "../../src/numeric/knapsack.ts";

/** Tries every combination. */
function bruteForce(classes: readonly (readonly Choice[])[], budget: number): Selection | null {
  let best: Selection | null = null;
  const walk = (picks: number[], cost: number, harm: number): void => {
    if (cost > budget) return;
    const next = classes[picks.length];
    if (next === undefined) {
      if (best === null || harm < best.harm) best = { picks, cost, harm };
      return;
    }
    for (const [i, c] of next.entries()) walk([...picks, i], cost + c.cost, harm + c.harm);
  };
  walk([], 0, 0);
  return best;
}

const choice = fc.record({
  cost: fc.integer({ min: 0, max: 40 }),
  harm: fc.integer({ min: 0, max: 60 }),
});
const problem = fc.record({
  classes: fc.array(fc.array(choice, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 6 }),
  budget: fc.integer({ min: 0, max: 160 }),
});

describe("knapsack", () => {
  it("is as good as trying everything", () => {
    fc.assert(
      fc.property(problem, ({ classes, budget }) => {
        const found = knapsack(classes, budget);
        const best = bruteForce(classes, budget);
        expect(found === null).toBe(best === null);
        if (found === null || best === null) return;
        expect(found.exact).toBe(true);
        expect(found.harm).toBe(best.harm);
        expect(found.cost).toBeLessThanOrEqual(budget);
      }),
      { numRuns: 400 },
    );
  });

  it("sums what it picked, and no selection is below the bound", () => {
    fc.assert(
      fc.property(problem, fc.constantFrom(0, 200_000), ({ classes, budget }, limit) => {
        const found = knapsack(classes, budget, limit);
        if (found === null) return;
        const sum = (of: (c: Choice) => number): number =>
          found.picks.reduce((s, p, i) => s + of(classes[i]![p]!), 0);
        expect(found.cost).toBe(sum((c) => c.cost));
        expect(found.harm).toBe(sum((c) => c.harm));
        expect(bruteForce(classes, budget)!.harm).toBeGreaterThanOrEqual(found.bound - 1e-9);
      }),
    );
  });

  it("walks along the hulls when the search is limited, at most one step of a class worse than the best", () => {
    fc.assert(
      fc.property(problem, ({ classes, budget }) => {
        const found = knapsack(classes, budget, 0);
        if (found === null) return;
        const spread = Math.max(
          ...classes.map((c) => Math.max(...c.map((x) => x.harm)) - Math.min(...c.map((x) => x.harm))),
        );
        expect(found.cost).toBeLessThanOrEqual(budget);
        expect(found.harm).toBeLessThanOrEqual(bruteForce(classes, budget)!.harm + spread);
      }),
    );
  });

  it("never gets worse with more budget, and its price falls", () => {
    fc.assert(
      fc.property(problem, fc.integer({ min: 0, max: 60 }), ({ classes, budget }, more) => {
        const [a, b] = [knapsack(classes, budget), knapsack(classes, budget + more)];
        if (a === null) return;
        expect(b!.harm).toBeLessThanOrEqual(a.harm);
        expect(b!.bound).toBeLessThanOrEqual(a.bound + 1e-9);
        expect(b!.price).toBeLessThanOrEqual(a.price + 1e-9);
      }),
    );
  });

  it("refuses budgets below the cheapest selection only", () => {
    fc.assert(
      fc.property(problem, ({ classes }) => {
        const least = cheapest(classes);
        expect(knapsack(classes, least.cost)).not.toBeNull();
        expect(knapsack(classes, least.cost - 1)).toBeNull();
      }),
    );
  });

  it("solves a network of realistic size exactly", () => {
    let s = 7;
    const next = (): number => {
      s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
      return s / 2 ** 32;
    };
    const classes = Array.from({ length: 120 }, () => {
      const size = 500 + Math.floor(next() * 20000);
      const harm = 10 ** (4 * next());
      return [2.6, 4.6, 8.2, 16].map((bits) => ({
        cost: Math.ceil((size * bits) / 8),
        harm: harm * 4 ** -bits,
      }));
    });
    const all = classes.reduce((sum, c) => sum + c[2]!.cost, 0);
    const found = knapsack(classes, Math.floor(all * 0.6))!;
    expect(found.exact).toBe(true);
    expect(found.harm).toBeGreaterThanOrEqual(found.bound);
    expect(found.harm).toBeLessThan(found.bound * 1.01);
    expect(found.harm).toBeLessThanOrEqual(knapsack(classes, Math.floor(all * 0.6), 0)!.harm);
  });
});

describe("convexHull", () => {
  it("keeps the points below every chord", () => {
    const at = (cost: number, harm: number): Choice => ({ cost, harm });
    expect(convexHull([at(4, 1), at(1, 10), at(2, 8), at(3, 2), at(5, 1)])).toEqual([1, 3, 0]);
    expect(convexHull([at(1, 5), at(1, 3), at(2, 3)])).toEqual([1]);
  });
});
