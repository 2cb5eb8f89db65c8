import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type AcrossMoments,
  type AcrossReader,
  errorAcross,
  repairAcross,
} from "../../src/numeric/prune/across.ts";
import { repairColumns } from "../../src/numeric/prune/repair.ts";
import { createRng } from "../../src/numeric/rng.ts";

const DAMP = 1e-10;

interface Pair {
  readonly reader: AcrossReader;
  /** Inputs in the compressed network and in the original, a pair per position. */
  readonly own: readonly Float64Array[];
  readonly original: readonly Float64Array[];
}

/** A layer with `size` inputs left of `width`, disturbed. */
function randomPair(seed: number, rows: number, size: number, more: number, biased: boolean): Pair {
  const rng = createRng(seed, "across");
  const value = (): number => 2 * rng.float() - 1;
  const width = size + more;
  const n = 4 * width;
  const original = Array.from({ length: n }, () => Float64Array.from({ length: width }, () => value() + 0.3));
  const own = original.map((x) =>
    x.slice(0, size).map((v, i) => v + 0.2 * x[(i + 1) % width]! + 0.1 * value()),
  );
  const moments = (a: readonly Float64Array[], b: readonly Float64Array[]): Float64Array => {
    const [p, q] = [a[0]!.length, b[0]!.length];
    const out = new Float64Array(p * q);
    for (const [k, x] of a.entries())
      for (let i = 0; i < p; i++) for (let j = 0; j < q; j++) out[i * q + j]! += (x[i]! * b[k]![j]!) / n;
    return out;
  };
  const mean = (a: readonly Float64Array[]): Float64Array =>
    a[0]!.map((_, i) => a.reduce((s, x) => s + x[i]! / n, 0));
  const m: AcrossMoments = {
    own: moments(own, own),
    cross: moments(own, original),
    original: moments(original, original),
    ownMean: mean(own),
    originalMean: mean(original),
  };
  const weights = (columns: number): Float64Array => Float64Array.from({ length: rows * columns }, value);
  return {
    reader: { rows, weights: weights(size), size, original: weights(width), width, moments: m, biased },
    own,
    original,
  };
}

/** E‖Wx - W′x̂ - shift‖² by running every input. */
function directly(
  { reader, own, original }: Pair,
  weights: Float64Array,
  shift: Float64Array | null,
): number {
  let sum = 0;
  for (const [k, x] of original.entries())
    for (let r = 0; r < reader.rows; r++) {
      let d = -(shift?.[r] ?? 0);
      for (const [i, v] of x.entries()) d += reader.original[r * reader.width + i]! * v;
      for (const [i, v] of own[k]!.entries()) d -= weights[r * reader.size + i]! * v;
      sum += d * d;
    }
  return sum / original.length;
}

const cases = fc.record({
  seed: fc.nat(1000),
  rows: fc.integer({ min: 1, max: 5 }),
  size: fc.integer({ min: 3, max: 9 }),
  more: fc.integer({ min: 0, max: 4 }),
  biased: fc.boolean(),
});

const kept = (size: number, seed: number): Int32Array =>
  Int32Array.from(Array.from({ length: size }, (_, i) => i).filter((i) => i % 3 !== seed % 3));

describe("repairAcross", () => {
  it("predicts its error against the original, which no nearby weights undercut", () => {
    fc.assert(
      fc.property(cases, ({ seed, rows, size, more, biased }) => {
        const pair = randomPair(seed, rows, size, more, biased);
        const keep = kept(size, seed);
        const found = repairAcross(pair.reader, keep, DAMP);
        expect(found.noise).toBeCloseTo(directly(pair, found.weights, found.correction), 8);
        for (let i = 0; i < size; i++)
          if (!keep.includes(i)) for (let r = 0; r < rows; r++) expect(found.weights[r * size + i]).toBe(0);
        const rng = createRng(seed, "nearby");
        const other = found.weights.slice();
        for (const k of keep) other[k] = other[k]! + 0.05 * (2 * rng.float() - 1);
        expect(directly(pair, other, found.correction)).toBeGreaterThanOrEqual(found.noise - 1e-9);
      }),
    );
  });

  it("is the plain repair where the prefix is untouched", () => {
    fc.assert(
      fc.property(cases, ({ seed, rows, size, biased }) => {
        const { reader } = randomPair(seed, rows, size, 0, biased);
        const { own, ownMean } = reader.moments;
        const same: AcrossReader = {
          ...reader,
          original: reader.weights,
          moments: { own, cross: own, original: own, ownMean, originalMean: ownMean },
        };
        const keep = kept(size, seed);
        const plain = repairColumns(
          { weights: reader.weights, rows, size, gram: own, mean: biased ? ownMean : null },
          keep,
          0.01,
        );
        const found = repairAcross(same, keep, 0.01);
        for (const [i, w] of plain.weights.entries()) expect(found.weights[i]).toBeCloseTo(w, 9);
        for (const [r, c] of (plain.correction ?? []).entries())
          expect(found.correction![r]).toBeCloseTo(c, 9);
        expect(found.noise).toBeCloseTo(plain.noise, 9);
      }),
    );
  });

  it("prices any weights and any shift", () => {
    fc.assert(
      fc.property(cases, ({ seed, rows, size, more }) => {
        const pair = randomPair(seed, rows, size, more, true);
        const rng = createRng(seed, "shift");
        const shift = Float64Array.from({ length: rows }, () => rng.normal());
        const weights = Float64Array.from({ length: rows * size }, () => rng.normal());
        for (const s of [null, shift])
          expect(errorAcross(pair.reader, weights, s)).toBeCloseTo(directly(pair, weights, s), 8);
      }),
    );
  });
});
