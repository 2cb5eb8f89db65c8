import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Combination,
  expected,
  keyOf,
  meanDecibel,
  type SplitProblem,
  smallest,
} from "../../../src/compile/split/choose.ts";

const CALLS = 3;
const noise = fc
  .array(fc.double({ min: 1e-3, max: 1, noNaN: true }), { minLength: CALLS, maxLength: CALLS })
  .map((n) => Float64Array.from(n));
const level = fc.record({ size: fc.integer({ min: 1, max: 100 }), noise });

/** Levels alone include the error of everything left out. */
const problems = fc
  .record({
    base: fc.record({ size: fc.constant(100), noise }),
    added: fc.array(fc.array(level, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 3 }),
    signal: fc.constant(Float64Array.of(100, 200, 400)),
    wanted: fc.double({ min: 15, max: 35, noNaN: true }),
  })
  .map(
    ({ base, added, ...rest }): SplitProblem => ({
      ...rest,
      base,
      alone: added.map((l) =>
        l.map((m) => ({ size: m.size, noise: m.noise.map((n, k) => n + base.noise[k]!) })),
      ),
    }),
  );

/** Levels of every combination, counted in mixed radix. */
function everyCombination(p: SplitProblem): number[][] {
  const radix = p.alone.map((l) => l.length + 1);
  const total = radix.reduce((a, b) => a * b, 1);
  return Array.from({ length: total }, (_, index) => {
    let rest = index;
    return radix.map((r) => {
      const digit = rest % r;
      rest = (rest - digit) / r;
      return digit - 1;
    });
  });
}

const ONE = new Float64Array(CALLS).fill(1);
const none = (p: SplitProblem): number[] => p.alone.map(() => -1);
const start = (p: SplitProblem): Map<string, Combination> =>
  new Map([[keyOf(none(p)), { ...expected(p, none(p), ONE) }]]);

describe("splitting an error budget", () => {
  it("adds the energies of errors and multiplies shares of the size", () => {
    const p: SplitProblem = {
      base: { size: 100, noise: Float64Array.of(1, 2) },
      alone: [
        [{ size: 50, noise: Float64Array.of(3, 2) }],
        [
          { size: 80, noise: Float64Array.of(1, 5) },
          { size: 10, noise: Float64Array.of(4, 9) },
        ],
      ],
      signal: Float64Array.of(1000, 1000),
      wanted: 20,
    };
    const both = expected(p, [0, 1], Float64Array.of(1, 2));
    expect(both.size).toBeCloseTo(5, 12);
    expect(Array.from(both.noise)).toEqual([6, 18]);
    expect(both.db).toBeCloseTo((10 * Math.log10(1000 / 6) + 10 * Math.log10(1000 / 18)) / 2, 12);
    expect(meanDecibel(Float64Array.of(0), Float64Array.of(1))).toBe(120);
  });

  it("finds the smallest of all combinations that keep the budget", () => {
    fc.assert(
      fc.property(problems, (p) => {
        const found = smallest(p, start(p), ONE);
        const all = everyCombination(p).map((levels) => expected(p, levels, ONE));
        const keeping = all.filter((c) => c.db >= p.wanted);
        if (keeping.length === 0) {
          expect(found.levels).toEqual(none(p));
          return;
        }
        expect(found.db).toBeGreaterThanOrEqual(p.wanted);
        expect(found.size).toBe(Math.min(...keeping.map((c) => c.size)));
      }),
    );
  });

  it("believes what was measured more than what is expected", () => {
    fc.assert(
      fc.property(problems, (p) => {
        const first = smallest(p, start(p), ONE);
        const key = keyOf(first.levels);
        if (key === keyOf(none(p))) return;
        const known = start(p).set(key, { ...first, db: p.wanted - 1 });
        expect(keyOf(smallest(p, known, ONE).levels)).not.toBe(key);
      }),
    );
  });
});
