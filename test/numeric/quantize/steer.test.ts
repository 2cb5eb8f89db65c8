import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type SteerProblem, steer } from "../../../src/numeric/quantize/steer.ts";
import { createRng } from "../../../src/numeric/rng.ts";

const [ROWS, K] = [3, 6];

/** Inputs of a layer in the original, `positions × K`, and how a compressed prefix distorts them. */
function inputs(seed: number, positions: number) {
  const rng = createRng(seed);
  const x = Float64Array.from({ length: positions * K }, () => rng.normal() + 0.5);
  const mix = Float64Array.from(
    { length: K * K },
    (_, i) => 0.2 * rng.normal() + (i % (K + 1) === 0 ? 1 : 0),
  );
  const seen = x.map((_, i) => {
    const [p, k] = [Math.floor(i / K), i % K];
    let sum = 0.3;
    for (let j = 0; j < K; j++) sum += mix[k * K + j]! * x[p * K + j]!;
    return sum;
  });
  const weights = Float64Array.from({ length: ROWS * K }, () => rng.normal());
  return { x, seen, weights, noisy: seen.map((v) => v + 0.3 * rng.normal()) };
}

const moments = (a: Float64Array, b: Float64Array): Float64Array => {
  const out = new Float64Array(K * K);
  const n = a.length / K;
  for (let p = 0; p < n; p++)
    for (let i = 0; i < K; i++)
      for (let j = 0; j < K; j++) out[i * K + j]! += (a[p * K + i]! * b[p * K + j]!) / n;
  return out;
};
const meanOf = (a: Float64Array): Float64Array =>
  Float64Array.from({ length: K }, (_, k) => {
    let sum = 0;
    for (let i = k; i < a.length; i += K) sum += a[i]!;
    return (sum * K) / a.length;
  });

function problem(x: Float64Array, seen: Float64Array, weights: Float64Array, bias: boolean): SteerProblem {
  return {
    weights,
    rows: ROWS,
    columns: K,
    own: moments(seen, seen),
    cross: moments(seen, x),
    means: bias ? { own: meanOf(seen), original: meanOf(x) } : null,
  };
}

/** Σ ‖w·x - ŵ·x̂ - shift‖² over positions, plainly. */
function errorOf(
  p: { x: Float64Array; seen: Float64Array; weights: Float64Array },
  candidate: Float64Array,
  shift: ArrayLike<number> | null,
): number {
  let sum = 0;
  for (let at = 0; at < p.x.length; at += K)
    for (let r = 0; r < ROWS; r++) {
      let d = -(shift?.[r] ?? 0);
      for (let k = 0; k < K; k++)
        d += p.weights[r * K + k]! * p.x[at + k]! - candidate[r * K + k]! * p.seen[at + k]!;
      sum += d * d;
    }
  return sum;
}

describe("steering a layer behind a compressed prefix", () => {
  it("undoes a linear distortion of its inputs", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000 }), (seed) => {
        const made = inputs(seed, 200);
        const { weights, shift } = steer(problem(made.x, made.seen, made.weights, true), 1e-12);
        const before = errorOf(made, made.weights, null);
        expect(errorOf(made, weights, shift)).toBeLessThan(1e-6 * before);
      }),
      { numRuns: 30 },
    );
  });

  it("finds the least error there is: no change of a weight or bias lowers it", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10_000 }),
        fc.boolean(),
        fc.integer({ min: 0, max: ROWS * K - 1 }),
        fc.constantFrom(-1e-2, 1e-2),
        (seed, bias, index, step) => {
          const made = inputs(seed, 60);
          const p = { ...made, seen: made.noisy };
          const { weights, shift } = steer(problem(p.x, p.seen, p.weights, bias), 1e-12);
          const least = errorOf(p, weights, shift);
          expect(least).toBeLessThan(errorOf(p, p.weights, null));
          const other = weights.map((w, i) => (i === index ? w + step : w));
          expect(errorOf(p, other, shift)).toBeGreaterThan(least);
          if (shift === null) return;
          const moved = shift.map((s, r) => (r === index % ROWS ? s + step : s));
          expect(errorOf(p, weights, moved)).toBeGreaterThan(least);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("keeps weights in directions the inputs do not span, and under heavy damping", () => {
    const { x, weights } = inputs(5, 50);
    const flat = x.map((v, i) => (i % K < 2 ? v : 0));
    const seen = flat.map((v) => 1.1 * v);
    const found = steer(problem(flat, seen, weights, false), 1e-9).weights;
    for (const [i, w] of found.entries())
      expect(w).toBeCloseTo(i % K < 2 ? weights[i]! / 1.1 : weights[i]!, 6);
    const held = steer(problem(flat, seen, weights, false), 1e9).weights;
    for (const [i, w] of held.entries()) expect(w).toBeCloseTo(weights[i]!, 6);
  });

  it("without damping given moves the bias alone, by what the mean of the output lost", () => {
    const { x, seen, weights } = inputs(9, 40);
    const { weights: same, shift } = steer(problem(x, seen, weights, true), null);
    expect(same).toEqual(weights);
    for (let r = 0; r < ROWS; r++) {
      let lost = 0;
      for (let i = 0; i < x.length; i++)
        lost += (weights[r * K + (i % K)]! * (x[i]! - seen[i]!) * K) / x.length;
      expect(shift![r]).toBeCloseTo(lost, 9);
    }
  });
});
