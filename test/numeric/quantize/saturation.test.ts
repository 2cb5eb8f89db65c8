import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { exactScale, type SaturationRule } from "../../../src/numeric/quantize/saturation.ts";
import { createRng } from "../../../src/numeric/rng.ts";

const rows = fc.oneof(
  fc.array(fc.float({ min: -8, max: 8, noNaN: true }), { minLength: 1, maxLength: 33 }),
  // Neighbours of like size and sign: the case that saturates.
  fc.array(fc.constantFrom(1, 0.99, 0.5, 127 / 128, -1, -0.993), { minLength: 1, maxLength: 17 }),
  fc.record({ n: fc.integer({ min: 1, max: 40 }), seed: fc.nat(10_000) }).map(({ n, seed }) => {
    const rng = createRng(seed, "row");
    return Array.from({ length: n }, () => rng.normal());
  }),
);

function quantized(row: Float32Array, scale: number): number[] {
  return Array.from(row, (v) => Math.min(127, Math.max(-127, Math.round(v / scale))));
}

/** Σ a·w as `vpmaddubsw` makes it: products of neighbours are added in 16 bits, saturating. */
function pairwise(a: readonly number[], w: readonly number[]): number {
  let sum = 0;
  for (let k = 0; k < w.length; k += 2) {
    const pair = a[k]! * w[k]! + (k + 1 < w.length ? a[k + 1]! * w[k + 1]! : 0);
    sum += Math.min(32767, Math.max(-32768, pair));
  }
  return sum;
}

const exact = (a: readonly number[], w: readonly number[]): number => w.reduce((s, v, k) => s + v * a[k]!, 0);

/** Activations that drive 16-bit sums as far as they go, and random ones. */
function activations(w: readonly number[], seed: number): number[][] {
  const rng = createRng(seed, "activations");
  return [
    w.map((v) => (v > 0 ? 255 : 0)),
    w.map((v) => (v < 0 ? 255 : 0)),
    w.map(() => 255),
    ...Array.from({ length: 20 }, () => w.map(() => rng.int(256))),
  ];
}

describe("scales that keep 16-bit additions exact", () => {
  it.each(["pairs", "seven-bit"] as SaturationRule[])("%s: no sum of neighbours saturates", (rule) => {
    fc.assert(
      fc.property(rows, fc.nat(1000), (values, seed) => {
        const row = Float32Array.from(values);
        const w = quantized(row, exactScale(row, rule));
        for (const a of activations(w, seed)) expect(pairwise(a, w)).toBe(exact(a, w));
      }),
      { numRuns: 500 },
    );
  });

  it("none: equal neighbours do saturate, so the simulation sees what it is for", () => {
    const row = Float32Array.of(1, 1, 1, 1);
    const w = quantized(row, exactScale(row, "none"));
    expect(w).toEqual([127, 127, 127, 127]);
    expect(pairwise([255, 255, 255, 255], w)).toBe(2 * 32767);
    expect(exact([255, 255, 255, 255], w)).toBe(4 * 255 * 127);
  });

  it("pairs: never coarser than 7 bits, never finer than the format allows, as fine as the rule allows", () => {
    fc.assert(
      fc.property(rows, (values) => {
        const row = Float32Array.from(values);
        const [pairs, seven, none] = (["pairs", "seven-bit", "none"] as const).map((r) => exactScale(row, r));
        expect(pairs!).toBeLessThanOrEqual(seven!);
        expect(pairs!).toBeGreaterThanOrEqual(none!);
        // A pair of one sign adds up to at most 128, so before rounding to less than 129.
        let most = 0;
        for (let k = 0; k < row.length; k += 2) {
          const [a, b] = [row[k]!, row[k + 1] ?? 0];
          most = Math.max(most, Math.max(a, 0) + Math.max(b, 0), Math.max(-a, 0) + Math.max(-b, 0));
        }
        const bound = Math.max(none!, most / 129);
        expect(pairs!).toBeLessThanOrEqual(bound * (129 / 128) * 1.002);
      }),
      { numRuns: 500 },
    );
  });

  it("pairs: costs nothing where neighbours differ in sign or size", () => {
    const row = Float32Array.of(1, -1, 0.9, 0.001, -1, 1);
    expect(exactScale(row, "pairs")).toBe(exactScale(row, "none"));
  });

  it("an empty row has a finite scale", () => {
    for (const rule of ["pairs", "seven-bit", "none"] as const)
      expect(exactScale(new Float32Array(6), rule)).toBe(1);
  });

  it("is stored as it is: a single-precision number", () => {
    fc.assert(
      fc.property(rows, fc.constantFrom<SaturationRule>("pairs", "seven-bit", "none"), (values, rule) => {
        const scale = exactScale(Float32Array.from(values), rule);
        expect(Math.fround(scale)).toBe(scale);
      }),
    );
  });
});
