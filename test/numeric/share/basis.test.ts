import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { damped } from "../../../src/numeric/quantize/damped.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { inputSpectrum, rankFor } from "../../../src/numeric/share/basis.ts";
import { reference } from "../linalg/reference.ts";
import { inputsOf, momentsOf } from "../quantize/reference.ts";

const DAMP = 1e-4;

const problems = fc
  .record({
    columns: fc.integer({ min: 2, max: 14 }),
    seed: fc.nat(500),
    layers: fc.integer({ min: 1, max: 3 }),
  })
  .map(({ columns, seed, layers }) => {
    const rng = createRng(seed, "basis");
    return {
      columns,
      gram: momentsOf(inputsOf(3 * columns, columns, seed), columns).gram,
      weights: Array.from({ length: layers }, (_, l) =>
        Float64Array.from({ length: (3 + l) * columns }, () => rng.normal()),
      ),
    };
  });

/** Σ over layers of tr(Δ·h·Δᵀ), written out. */
function loss(
  p: { weights: readonly Float64Array[]; columns: number },
  h: Float64Array,
  approximations: readonly Float64Array[],
): number {
  const n = p.columns;
  let sum = 0;
  for (const [l, w] of p.weights.entries())
    for (let r = 0; r < w.length / n; r++)
      for (let i = 0; i < n; i++)
        for (let j = 0; j < n; j++)
          sum +=
            (w[r * n + i]! - approximations[l]![r * n + i]!) *
            h[i * n + j]! *
            (w[r * n + j]! - approximations[l]![r * n + j]!);
  return sum;
}

function products(
  b: { rank: number; down: Float64Array; ups: readonly Float64Array[] },
  n: number,
): Float64Array[] {
  return b.ups.map((up) => {
    const rows = up.length / b.rank;
    const out = new Float64Array(rows * n);
    for (let r = 0; r < rows; r++)
      for (let k = 0; k < b.rank; k++)
        for (let i = 0; i < n; i++) out[r * n + i]! += up[r * b.rank + k]! * b.down[k * n + i]!;
    return out;
  });
}

describe("a shared basis", () => {
  it("loses exactly the energy of the directions left out, which are the squared singular values", () => {
    fc.assert(
      fc.property(problems, (p) => {
        const n = p.columns;
        const h = damped(p.gram, n, DAMP);
        const found = inputSpectrum(p, DAMP);
        const s = reference.cholesky(h, n);
        const m = new Float64Array(n * n);
        for (const w of p.weights)
          for (let r = 0; r < w.length / n; r++) {
            const ws = Array.from({ length: n }, (_, j) => {
              let sum = 0;
              for (let i = 0; i < n; i++) sum += w[r * n + i]! * s[i * n + j]!;
              return sum;
            });
            for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) m[i * n + j]! += ws[i]! * ws[j]!;
          }
        const values = reference.jacobi(m, n);
        const total = values.reduce((a, b) => a + b, 0);
        for (const [i, v] of values.entries())
          expect(Math.abs(found.energy[i]! - Math.max(0, v))).toBeLessThan(1e-9 * total);
        for (let rank = 1; rank <= n; rank++) {
          const tail = values.slice(rank).reduce((a, b) => a + Math.max(0, b), 0);
          const measured = loss(p, h, products(found.basis(rank), n));
          expect(Math.abs(measured - tail)).toBeLessThan(1e-8 * total);
        }
      }),
      { numRuns: 30 },
    );
  });

  it("takes the least rank that leaves out no more than a share", () => {
    const energy = Float64Array.of(8, 4, 2, 1, 1);
    const plain = (share: number): number => {
      for (let r = 1; r <= 5; r++) if (energy.slice(r).reduce((a, b) => a + b, 0) <= share * 16) return r;
      return 5;
    };
    for (const share of [0, 0.05, 1 / 16, 0.1, 0.125, 0.25, 0.5, 0.9, 1])
      expect(rankFor(energy, share)).toBe(plain(share));
  });
});
