import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  channelGrid,
  commonZeroGrid,
  HEADROOM,
  type TimeSplit,
  U8_STEPS,
  U16_STEPS,
} from "../../../src/numeric/quantize/activation.ts";

const range = fc.record({
  low: fc.double({ min: -50, max: 5, noNaN: true }),
  width: fc.double({ min: 0.01, max: 80, noNaN: true }),
});
const ranges = (most: number): fc.Arbitrary<TimeSplit> =>
  fc.array(range, { minLength: 1, maxLength: most }).map((rows) => ({
    profile: Float64Array.of(1),
    low: Float64Array.from(rows, (r) => Math.min(r.low, 0)),
    high: Float64Array.from(rows, (r) => Math.max(r.low + r.width, 0)),
  }));
const NOTHING = { rows: 0, values: new Float32Array(0) };

describe.each([U8_STEPS, U16_STEPS])("grids of %i steps", (steps) => {
  it("per channel: span the range and its headroom to within a step, with zero on the grid", () => {
    fc.assert(
      fc.property(ranges(6), (split) => {
        const g = channelGrid(split, NOTHING, { power: 2, steps });
        for (const [c, s] of g.scale.entries()) {
          const zero = g.zero[c]!;
          expect(Number.isInteger(zero) && zero >= 0 && zero <= steps).toBe(true);
          expect(Math.abs(zero * s + split.low[c]! * HEADROOM)).toBeLessThanOrEqual(s * 0.501);
          expect(Math.abs((steps - zero) * s - split.high[c]! * HEADROOM)).toBeLessThanOrEqual(s * 0.501);
        }
      }),
    );
  });

  it("around one zero point: cover every channel", () => {
    fc.assert(
      fc.property(ranges(6), (split) => {
        const even = split.low.map(() => 1);
        const g = commonZeroGrid(split, even, NOTHING, { power: 2, steps });
        const zero = g.zero[0]!;
        for (const [c, s] of g.scale.entries()) {
          expect(zero * s).toBeGreaterThanOrEqual(-split.low[c]! - 1e-9);
          expect((steps - zero) * s).toBeGreaterThanOrEqual(split.high[c]! - 1e-9);
        }
      }),
    );
  });
});

it("16 bits make the scale of a channel 250 times finer", () => {
  fc.assert(
    fc.property(ranges(1), (split) => {
      const [coarse, fine] = [U8_STEPS, U16_STEPS].map(
        (steps) => commonZeroGrid(split, [1], NOTHING, { power: 2, steps }).scale[0]!,
      );
      expect(coarse! / fine!).toBeGreaterThan(250);
    }),
  );
});
