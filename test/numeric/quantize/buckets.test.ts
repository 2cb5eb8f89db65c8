import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chooseBuckets, type RangeSeries } from "../../../src/numeric/quantize/buckets.ts";

/** Every way to cut `calls` into exactly `count` buckets. */
function cuts(calls: number, count: number, from = 0): number[][] {
  if (count === 1) return [[from]];
  const out: number[][] = [];
  for (let next = from + 1; next <= calls - count + 1; next++)
    for (const rest of cuts(calls, count - 1, next)) out.push([from, ...rest]);
  return out;
}

/** The excess of a cut, straight from its definition. */
function excessOf(series: readonly RangeSeries[], calls: number, starts: readonly number[]): number {
  let [sum, weight] = [0, 0];
  for (const s of series) {
    const most = Math.max(...Array.from(s.range));
    if (most <= 0 || s.weight <= 0) continue;
    weight += s.weight;
    const logs = Array.from(s.range, (r) => Math.log(Math.max(r, most * 1e-4)));
    for (const [k, start] of starts.entries()) {
      const bucket = logs.slice(start, starts[k + 1] ?? calls);
      for (const l of bucket) sum += s.weight * (Math.max(...bucket) - l);
    }
  }
  return weight === 0 ? 0 : sum / weight / calls;
}

const trajectories = fc.integer({ min: 1, max: 8 }).chain((calls) =>
  fc.record({
    calls: fc.constant(calls),
    most: fc.integer({ min: 1, max: 5 }),
    series: fc.array(
      fc.record({
        // As the statistics give them: ranges in single precision, weights that count elements.
        range: fc.array(fc.float({ min: 0, max: 100, noNaN: true }), { minLength: calls, maxLength: calls }),
        weight: fc.nat(1_000_000),
      }),
      { maxLength: 4 },
    ),
  }),
);

describe("buckets of a trajectory", () => {
  it("give away as little as the best of all cuts, and say how much", () => {
    fc.assert(
      fc.property(trajectories, ({ calls, most, series }) => {
        const found = chooseBuckets(series, { calls, most, tolerance: 0 });
        const own = excessOf(series, calls, found.starts);
        expect(found.excess).toBeCloseTo(own, 9);
        const count = Math.min(most, calls);
        const best = Math.min(...cuts(calls, count).map((c) => excessOf(series, calls, c)));
        expect(own).toBeLessThanOrEqual(best + 1e-9);
        expect(found.starts[0]).toBe(0);
        for (const [k, s] of found.starts.entries())
          if (k > 0) expect(s).toBeGreaterThan(found.starts[k - 1]!);
      }),
    );
  });

  it("are the fewest that stay within the tolerance", () => {
    fc.assert(
      fc.property(
        trajectories,
        fc.double({ min: 0, max: 2, noNaN: true }),
        ({ calls, most, series }, tolerance) => {
          const { starts } = chooseBuckets(series, { calls, most, tolerance });
          if (starts.length === 1) return;
          const fewer = cuts(calls, starts.length - 1).map((c) => excessOf(series, calls, c));
          expect(Math.min(...fewer)).toBeGreaterThan(tolerance - 1e-9);
        },
      ),
    );
  });

  it("follow the heavier of two series that jump at different calls", () => {
    const early = { range: [1, 8, 8, 8, 8, 8], weight: 1 };
    const late = { range: [1, 1, 1, 1, 8, 8], weight: 1 };
    const cut = (a: number, b: number) =>
      chooseBuckets(
        [
          { ...early, weight: a },
          { ...late, weight: b },
        ],
        { calls: 6, most: 2, tolerance: 0 },
      ).starts;
    expect(cut(10, 1)).toEqual([0, 1]);
    expect(cut(1, 1)).toEqual([0, 4]);
    expect(chooseBuckets([early, late], { calls: 6, most: 6, tolerance: 0 }).starts).toEqual([0, 1, 4]);
  });
});
