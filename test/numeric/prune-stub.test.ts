import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { channelStub, lowRankStub } from "../../src/numeric/prune/stub.ts";
import { createRng } from "../../src/numeric/rng.ts";

/** Rows of inputs of a branch and of what it adds, which depends on them and on noise. */
function samples(seed: number, size: number, rank: number): { x: number[][]; y: number[][] } {
  const rng = createRng(seed, "stub");
  const value = (): number => rng.normal();
  const down = Array.from({ length: rank }, () => Array.from({ length: size }, value));
  const up = Array.from({ length: size }, () => Array.from({ length: rank }, value));
  const x = Array.from({ length: 8 * size }, () =>
    Array.from({ length: size }, (_, i) => value() * (i + 1) + 0.5),
  );
  const y = x.map((row) => {
    const low = down.map((d) => d.reduce((s, v, i) => s + v * row[i]!, 0));
    return up.map((u, i) => u.reduce((s, v, r) => s + v * low[r]!, 0) - 0.7 * row[i]! + 0.3 * value() + 1);
  });
  return { x, y };
}

const meanOf = (rows: number[][]): Float64Array =>
  Float64Array.from(rows[0]!, (_, i) => rows.reduce((s, r) => s + r[i]! / rows.length, 0));
const squareOf = (rows: number[][]): Float64Array =>
  Float64Array.from(rows[0]!, (_, i) => rows.reduce((s, r) => s + r[i]! ** 2 / rows.length, 0));
function momentOf(a: number[][], b: number[][]): Float64Array {
  const size = a[0]!.length;
  const out = new Float64Array(size * size);
  for (const [k, r] of a.entries())
    for (let i = 0; i < size; i++)
      for (let j = 0; j < size; j++) out[i * size + j]! += (r[i]! * b[k]![j]!) / a.length;
  return out;
}

/** Σ (y - map(x))² over rows and channels. */
const errorOf = (x: number[][], y: number[][], map: (row: number[]) => number[]): number =>
  x.reduce((sum, row, k) => {
    const z = map(row);
    return sum + y[k]!.reduce((s, v, i) => s + (v - z[i]!) ** 2, 0);
  }, 0);

const cases = fc.record({
  seed: fc.nat(500),
  size: fc.integer({ min: 2, max: 7 }),
  rank: fc.integer({ min: 1, max: 3 }),
});

describe("stubs of branches", () => {
  it("a factor and an offset per channel: no others nearby are closer", () => {
    fc.assert(
      fc.property(cases, ({ seed, size, rank }) => {
        const { x, y } = samples(seed, size, rank);
        const of = (rows: number[][]) => ({ mean: meanOf(rows), square: squareOf(rows) });
        const { scale, shift } = channelStub(
          of(x),
          of(y),
          of(x.map((r, k) => r.map((v, i) => v + y[k]![i]!))),
        );
        const error = (a: Float64Array, b: Float64Array): number =>
          errorOf(x, y, (row) => row.map((v, i) => a[i]! * v + b[i]!));
        const least = error(scale, shift);
        for (let i = 0; i < size; i++)
          for (const by of [-0.01, 0.01]) {
            const moved = (v: Float64Array): Float64Array => v.map((w, k) => (k === i ? w + by : w));
            expect(error(moved(scale), shift)).toBeGreaterThan(least);
            expect(error(scale, moved(shift))).toBeGreaterThan(least);
          }
      }),
    );
  });

  it("a channel that never moves keeps the mean alone", () => {
    const still = { mean: Float64Array.of(2), square: Float64Array.of(4) };
    const y = { mean: Float64Array.of(3), square: Float64Array.of(10) };
    expect(channelStub(still, y, { mean: Float64Array.of(5), square: Float64Array.of(26) })).toEqual({
      scale: Float64Array.of(0),
      shift: Float64Array.of(3),
    });
  });

  it("a map of a rank: whole it is the least-squares map, and narrower it is closest of its rank", () => {
    fc.assert(
      fc.property(cases, ({ seed, size, rank }) => {
        const { x, y } = samples(seed, size, rank);
        const m = {
          size,
          own: momentOf(x, x),
          cross: momentOf(x, y),
          ownMean: meanOf(x),
          branchMean: meanOf(y),
        };
        const apply = (s: ReturnType<typeof lowRankStub>, down = s.down) =>
          errorOf(x, y, (row) => {
            const low = Array.from({ length: s.rank }, (_, r) =>
              row.reduce((sum, v, i) => sum + down[r * size + i]! * v, 0),
            );
            return row.map((_, c) => low.reduce((sum, v, r) => sum + s.up[c * s.rank + r]! * v, s.shift[c]!));
          });
        const errors = Array.from({ length: size }, (_, r) => apply(lowRankStub(m, r + 1, 1e-10)));
        for (const [i, e] of errors.entries())
          if (i > 0) expect(e).toBeLessThanOrEqual(errors[i - 1]! * (1 + 1e-6));
        // The whole map leaves no residual that its inputs explain.
        const whole = lowRankStub(m, size, 1e-10);
        const rng = createRng(seed, "nearby");
        const moved = whole.down.map((v) => v + 0.02 * rng.normal());
        expect(apply(whole, moved)).toBeGreaterThan(errors[size - 1]!);
        const narrow = lowRankStub(m, Math.min(rank, size), 1e-10);
        expect(
          apply(
            narrow,
            narrow.down.map((v) => v + 0.02 * rng.normal()),
          ),
        ).toBeGreaterThan(apply(narrow));
      }),
    );
  });
});
