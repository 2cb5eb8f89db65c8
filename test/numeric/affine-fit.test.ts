import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { addPairs, errorAfter, fitAffine, mergePairs, pairSums } from "../../src/numeric/affine-fit.ts";
import { createRng, gaussian } from "../../src/numeric/rng.ts";

const CHANNELS = 3;
const POSITIONS = 50;

function planted(seed: number, gain: number, offset: readonly number[], noise: number) {
  const e = gaussian(createRng(seed, "e"), CHANNELS * POSITIONS);
  const n = gaussian(createRng(seed, "n"), CHANNELS * POSITIONS);
  const x = Float64Array.from(e, (v, i) => v * gain + offset[Math.floor(i / POSITIONS)]! + noise * n[i]!);
  const sums = pairSums(CHANNELS);
  addPairs(sums, e, x, POSITIONS);
  return { e, x, sums };
}

/** Direct sum of squares. */
function slowError(
  e: ArrayLike<number>,
  x: ArrayLike<number>,
  gain: number,
  offset: ArrayLike<number>,
): number {
  let sum = 0;
  for (let i = 0; i < e.length; i++) sum += (gain * x[i]! + offset[Math.floor(i / POSITIONS)]! - e[i]!) ** 2;
  return sum;
}

const offsets = fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: 3, maxLength: 3 });

describe("fitAffine", () => {
  it("undoes a planted gain and offset exactly, with either estimator", () => {
    fc.assert(
      fc.property(fc.nat(), fc.double({ min: 0.5, max: 2, noNaN: true }), offsets, (seed, gain, offset) => {
        const { sums } = planted(seed, gain, offset, 0);
        for (const estimator of ["ptqd", "mmse"] as const) {
          const fit = fitAffine(sums, estimator);
          expect(fit.gain).toBeCloseTo(1 / gain, 9);
          for (const [c, o] of offset.entries()) expect(fit.offset[c]).toBeCloseTo(-o / gain, 9);
          expect(fit.slope).toBeCloseTo(gain - 1, 9);
          expect(fit.residual).toBeLessThan(1e-9);
        }
      }),
    );
  });

  it("knows the error it leaves", () => {
    fc.assert(
      fc.property(fc.nat(), offsets, fc.constantFrom("ptqd", "mmse"), (seed, offset, estimator) => {
        const { e, x, sums } = planted(seed, 1.2, offset, 0.3);
        const { gain, offset: o, residual } = fitAffine(sums, estimator);
        expect(errorAfter(sums, gain, o)).toBeCloseTo(slowError(e, x, gain, o), 6);
        expect(residual * e.length).toBeCloseTo(slowError(e, x, gain, o), 6);
      }),
    );
  });

  it("mmse leaves the least error of all gains and offsets; ptqd an error that does not correlate with the output", () => {
    fc.assert(
      fc.property(
        fc.nat(),
        offsets,
        fc.double({ min: 0.9, max: 1.1, noNaN: true }),
        (seed, offset, other) => {
          const { e, x, sums } = planted(seed, 0.8, offset, 0.5);
          const best = fitAffine(sums, "mmse");
          const least = slowError(e, x, best.gain, best.offset);
          expect(slowError(e, x, best.gain * other, best.offset)).toBeGreaterThanOrEqual(least - 1e-9);
          const unbiased = fitAffine(sums, "ptqd");
          let [cross, sum] = [0, 0];
          for (let i = 0; i < e.length; i++) {
            const off = unbiased.gain * x[i]! + unbiased.offset[Math.floor(i / POSITIONS)]! - e[i]!;
            cross += off * e[i]!;
            sum += off * off;
          }
          expect(Math.abs(cross)).toBeLessThan(1e-6 * Math.max(1, sum));
          expect(slowError(e, x, unbiased.gain, unbiased.offset)).toBeGreaterThanOrEqual(least - 1e-9);
        },
      ),
    );
  });

  it("sums of parts are sums of the whole", () => {
    const a = planted(1, 1.1, [0, 0.1, 0.2], 0.1);
    const b = planted(2, 1.1, [0, 0.1, 0.2], 0.1);
    const whole = pairSums(CHANNELS);
    addPairs(whole, a.e, a.x, POSITIONS);
    addPairs(whole, b.e, b.x, POSITIONS);
    const merged = mergePairs([a.sums, b.sums]);
    expect(merged.count).toBe(whole.count);
    for (const [c, v] of whole.ex.entries()) expect(merged.ex[c]).toBeCloseTo(v, 9);
  });

  it("tells channels apart wherever their axis is", () => {
    const first = pairSums(2);
    addPairs(first, [1, 2, 3, 4], [5, 6, 7, 8], 2);
    const last = pairSums(2);
    addPairs(last, [1, 3, 2, 4], [5, 7, 6, 8], 1);
    expect(last).toEqual(first);
    expect([...first.e]).toEqual([3, 7]);
  });

  it("keeps its hands off constant outputs, opposed ones and, when asked, negative slopes", () => {
    const flat = pairSums(1);
    addPairs(flat, [1, 1, 1], [2, 2, 2], 3);
    expect(fitAffine(flat, "ptqd").gain).toBe(1);
    const opposed = pairSums(1);
    addPairs(opposed, [1, -1], [-1, 1], 2);
    expect(fitAffine(opposed, "mmse").gain).toBe(1);
    const shrunk = pairSums(1);
    addPairs(shrunk, [1, -1], [0.5, -0.5], 2);
    expect(fitAffine(shrunk, "ptqd").gain).toBe(2);
    expect(fitAffine(shrunk, "ptqd", true).gain).toBe(1);
  });
});
