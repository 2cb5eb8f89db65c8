import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  channelGrid,
  commonZeroGrid,
  type TimeSplit,
  U8_STEPS,
  U16_STEPS,
} from "../../../src/numeric/quantize/activation.ts";
import { exactScale } from "../../../src/numeric/quantize/saturation.ts";

const ranges = fc
  .array(
    fc.record({
      low: fc.double({ min: -50, max: 5, noNaN: true }),
      width: fc.double({ min: 0.01, max: 80, noNaN: true }),
    }),
    {
      minLength: 1,
      maxLength: 6,
    },
  )
  .map(
    (rows): TimeSplit => ({
      profile: Float64Array.of(1),
      low: Float64Array.from(rows, (r) => Math.min(r.low, 0)),
      high: Float64Array.from(rows, (r) => Math.max(r.low + r.width, 0)),
    }),
  );
const NOTHING = { rows: 0, values: new Float32Array(0) };
const both = { power: 2 };

/** Ends of what a grid can represent. */
const reach = (scale: number, zero: number, steps: number): [number, number] => [
  -zero * scale,
  (steps - zero) * scale,
];

describe.each([U8_STEPS, U16_STEPS])("grids of %i steps", (steps) => {
  it("per channel: span the range to within a step, with zero on the grid", () => {
    fc.assert(
      fc.property(ranges, (split) => {
        const g = channelGrid(split, NOTHING, { ...both, steps });
        for (const [c, s] of g.scale.entries()) {
          const zero = g.zero[c]!;
          expect(Number.isInteger(zero) && zero >= 0 && zero <= steps).toBe(true);
          const [low, high] = reach(s, zero, steps);
          expect(Math.abs(low - split.low[c]!)).toBeLessThanOrEqual(s * 0.501);
          expect(Math.abs(high - split.high[c]!)).toBeLessThanOrEqual(s * 0.501);
        }
      }),
    );
  });

  it("around one zero point: cover every channel", () => {
    fc.assert(
      fc.property(ranges, (split) => {
        const even = split.low.map(() => 1);
        const g = commonZeroGrid(split, even, NOTHING, { ...both, steps });
        for (const [c, s] of g.scale.entries()) {
          const [low, high] = reach(s, g.zero[0]!, steps);
          expect(low).toBeLessThanOrEqual(split.low[c]! + 1e-9);
          expect(high).toBeGreaterThanOrEqual(split.high[c]! - 1e-9);
        }
      }),
    );
  });
});

describe("16 bits", () => {
  it("make the scale of one channel 250 times finer or more", () => {
    fc.assert(
      fc.property(
        ranges.filter((r) => r.low.length === 1),
        (split) => {
          const of = (steps: number): number =>
            commonZeroGrid(split, [1], NOTHING, { ...both, steps }).scale[0]!;
          expect(of(U8_STEPS) / of(U16_STEPS)).toBeGreaterThan(250);
        },
      ),
    );
  });
});

describe("the pair rule", () => {
  it("holds at every scale above the finest", () => {
    // Two equal weights meet their limit of 64 half-way between two integers, where a rounded scale would tip them over.
    const tie = exactScale(Float32Array.of(-1, -1), "pairs");
    expect([Math.fround(tie), Math.round(-1 / tie)]).toEqual([tie, -64]);
    const value = fc.oneof(fc.constantFrom(-1, 1, 0.5), fc.double({ min: -1, max: 1, noNaN: true }));
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 1, maxLength: 24 }),
        fc.double({ min: 1, max: 40, noNaN: true }),
        (w, f) => {
          const row = Float32Array.from(w);
          const scale = exactScale(row, "pairs") * f;
          const q = Array.from(row, (v) => Math.round(v / scale));
          for (let k = 0; k < q.length; k += 2) {
            const [a, b] = [q[k]!, q[k + 1] ?? 0];
            expect(Math.max(a, 0) + Math.max(b, 0)).toBeLessThanOrEqual(128);
            expect(Math.max(-a, 0) + Math.max(-b, 0)).toBeLessThanOrEqual(128);
          }
        },
      ),
    );
  });
});
