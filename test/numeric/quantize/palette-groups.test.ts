import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { roundF16 } from "../../../src/numeric/f16.ts";
import { fitPalette } from "../../../src/numeric/quantize/fit-palette.ts";
import { roundScale } from "../../../src/numeric/quantize/grid.ts";
import type { BlockProblem } from "../../../src/numeric/quantize/problem.ts";
import { importanceOf } from "../../../src/numeric/quantize/weighted.ts";
import { patternOf } from "../../../src/numeric/sparsify/pattern.ts";
import { pruneWeight } from "../../../src/numeric/sparsify/prune-weight.ts";
import { problemOf } from "./reference.ts";

const ALL = { rows: 0, columns: 0 };
const options = { damp: 0.01, actOrder: false };

/** Σ weight·(x - c)² of sorted values cut into `size` runs, each with its mean, over all cuts: the definition. */
function leastCost(points: readonly { x: number; w: number }[], size: number): number {
  const sorted = [...points].sort((a, b) => a.x - b.x);
  const n = sorted.length;
  const run = (from: number, to: number): number => {
    let [w, m, s] = [0, 0, 0];
    for (const p of sorted.slice(from, to)) {
      w += p.w;
      m += p.w * p.x;
      s += p.w * p.x * p.x;
    }
    return w > 0 ? Math.max(0, s - (m * m) / w) : 0;
  };
  let best = Array.from({ length: n + 1 }, (_, i) => run(0, i));
  for (let k = 1; k < size; k++)
    best = best.map((_, i) => {
      let least = Number.POSITIVE_INFINITY;
      for (let j = 0; j <= i; j++) least = Math.min(least, best[j]! + run(j, i));
      return least;
    });
  return best[n]!;
}

/** Weights of a group on the scale of their rows, with what each counts. */
function pointsOf(
  p: BlockProblem,
  r0: number,
  r1: number,
  c0: number,
  c1: number,
): { x: number; w: number }[] {
  const importance = importanceOf(p);
  const out: { x: number; w: number }[] = [];
  for (let r = r0; r < r1; r++) {
    let sum = 0;
    for (let c = 0; c < p.columns; c++) sum += p.weights[r * p.columns + c]! ** 2;
    const s = roundScale(Math.sqrt(sum / p.columns), "f16");
    for (let c = c0; c < c1; c++)
      out.push({ x: p.weights[r * p.columns + c]! / s, w: s * s * importance[c]! });
  }
  return out;
}

describe("codebooks per group", () => {
  it("are the best ones for the weights of their group, as trying all cuts finds them", () => {
    fc.assert(
      fc.property(
        fc.nat(200),
        fc.constantFrom(0, 2, 3),
        fc.constantFrom(0, 4, 5),
        fc.constantFrom(2, 4),
        (seed, rows, columns, size) => {
          const p = problemOf({ rows: 6, columns: 12, block: 12, seed });
          const found = fitPalette(p, size, { ...options, groups: { rows, columns } });
          const [height, width] = [rows || 6, columns || 12];
          const across = Math.ceil(12 / width);
          expect(found.codebook.length).toBe(Math.ceil(6 / height) * across * size);
          for (let r = 0; r < 6; r += height)
            for (let c = 0; c < 12; c += width) {
              const points = pointsOf(p, r, Math.min(6, r + height), c, Math.min(12, c + width));
              const g = (r / height) * across + c / width;
              const book = [...found.codebook.slice(g * size, (g + 1) * size)];
              expect(book).toEqual([...book].sort((a, b) => a - b));
              const cost = points.reduce(
                (n, { x, w }) => n + w * Math.min(...book.map((b) => (x - b) ** 2)),
                0,
              );
              // Entries are rounded to half precision, which the definition is not.
              const scale = points.reduce((n, { x, w }) => n + w * x * x, 0);
              expect(cost).toBeLessThanOrEqual(leastCost(points, size) + 1e-5 * scale);
            }
        },
      ),
      { numRuns: 25 },
    );
  });

  it("lower the error the more there are of them, and one for all is the plain palette", () => {
    const p = problemOf({ rows: 32, columns: 64, block: 64, seed: 2 });
    const noise = (groups: { rows: number; columns: number }): number =>
      fitPalette(p, 4, { ...options, groups }).error.noise;
    const all = noise(ALL);
    expect(noise({ rows: 32, columns: 64 })).toBe(all);
    expect(noise({ rows: 8, columns: 0 })).toBeLessThan(all);
    expect(noise({ rows: 4, columns: 16 })).toBeLessThan(noise({ rows: 8, columns: 0 }));
  });

  it("hold zero, and zeros stay zero, where a tenth of the weight is", () => {
    const p = problemOf({ rows: 16, columns: 64, block: 64, seed: 6 });
    const pruned = pruneWeight(p, {
      criterion: "obs",
      repair: "least-squares",
      pattern: patternOf("unstructured", 0.5),
      taps: 1,
      damp: 0.01,
      actOrder: false,
    }).approximation;
    for (const groups of [ALL, { rows: 4, columns: 32 }]) {
      const found = fitPalette({ ...p, weights: pruned }, 16, { ...options, groups });
      expect(found.approximation.filter((v, i) => pruned[i] === 0 && v !== 0).length).toBe(0);
      for (let g = 0; g < found.codebook.length; g += 16)
        expect([...found.codebook.slice(g, g + 16)]).toContain(0);
    }
    const few = p.weights.slice();
    few[3] = 0;
    expect([...fitPalette({ ...p, weights: few }, 16, { ...options, groups: ALL }).codebook]).not.toContain(
      0,
    );
    expect([...found16(p)].every((v) => v === roundF16(v))).toBe(true);
  });
});

function found16(p: BlockProblem): Float32Array {
  return fitPalette(p, 16, { ...options, groups: ALL }).codebook;
}
