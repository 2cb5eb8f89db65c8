import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { quadraticForm } from "../../../src/numeric/linalg/product.ts";
import { damped } from "../../../src/numeric/quantize/damped.ts";
import { errorFeedback, factorGram } from "../../../src/numeric/quantize/feedback.ts";
import { fitWeight } from "../../../src/numeric/quantize/fit-weight.ts";
import { type BlockProblem, nearest, restored } from "../../../src/numeric/quantize/problem.ts";
import { sweepMask } from "../../../src/numeric/sparsify/mask.ts";
import {
  groupedOrder,
  groupOf,
  misfit,
  PATTERNS,
  type PatternName,
  patternOf,
} from "../../../src/numeric/sparsify/pattern.ts";
import {
  factorFor,
  keptCount,
  type PruneOptions,
  pruneWeight,
  staticMask,
} from "../../../src/numeric/sparsify/prune-weight.ts";
import { leastSquares } from "../../../src/numeric/sparsify/repair.ts";
import { selectKept } from "../../../src/numeric/sparsify/select.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { obq, problemOf } from "../quantize/reference.ts";

const DAMP = 0.01;

/** x·a = b by elimination with pivots. */
function solve(a: number[][], b: number[]): number[] {
  const n = b.length;
  const m = a.map((row, i) => [...row, b[i]!]);
  for (let c = 0; c < n; c++) {
    const best = Array.from({ length: n - c }, (_, i) => c + i).reduce((p, q) =>
      Math.abs(m[q]![c]!) > Math.abs(m[p]![c]!) ? q : p,
    );
    [m[c], m[best]] = [m[best]!, m[c]!];
    for (let r = 0; r < n; r++) {
      if (r === c) continue;
      const f = m[r]![c]! / m[c]![c]!;
      for (let k = c; k <= n; k++) m[r]![k]! -= f * m[c]![k]!;
    }
  }
  return m.map((row, i) => row[n]! / row[i]!);
}

/** First diagonal entry of the inverse of h restricted to the inputs from `j` on. */
function remaining(h: Float64Array, n: number, j: number): number {
  const ids = Array.from({ length: n - j }, (_, i) => j + i);
  const a = ids.map((r) => ids.map((c) => h[r * n + c]!));
  return solve(
    a,
    ids.map((i) => (i === j ? 1 : 0)),
  )[0]!;
}

/** The least error over weights that are zero where `kept` is 0, by the normal equations of each row. */
function plainLeastSquares(p: BlockProblem, h: Float64Array, kept: Uint8Array): Float64Array {
  const n = p.columns;
  const out = new Float64Array(p.weights.length);
  for (let r = 0; r < p.rows; r++) {
    const ids = Array.from({ length: n }, (_, c) => c).filter((c) => kept[r * n + c] === 1);
    if (ids.length === 0) continue;
    const a = ids.map((i) => ids.map((j) => h[i * n + j]!));
    const b = ids.map((i) => {
      let sum = 0;
      for (let c = 0; c < n; c++) sum += h[i * n + c]! * p.weights[r * n + c]!;
      return sum;
    });
    for (const [i, x] of solve(a, b).entries()) out[r * n + ids[i]!] = x;
  }
  return out;
}

const shapes = fc.record({
  rows: fc.constantFrom(16, 32),
  columns: fc.constantFrom(16, 40, 72),
  seed: fc.nat(1000),
});
const patterns = fc.constantFrom(...PATTERNS);
const prune = (o: Partial<PruneOptions> & { pattern: PruneOptions["pattern"] }): PruneOptions => ({
  criterion: "obs",
  repair: "least-squares",
  taps: 1,
  damp: DAMP,
  actOrder: false,
  ...o,
});

const errorOf = (p: BlockProblem, x: Float64Array, h: Float64Array): number =>
  quadraticForm(
    p.weights.map((w, i) => w - x[i]!),
    p.rows,
    h,
    p.columns,
  );

/** Whether zeros lie as a pattern wants, columns in grouped order. */
function follows(
  kept: Uint8Array,
  size: { rows: number; columns: number; taps: number },
  name: PatternName,
): boolean {
  const { rows, columns, taps } = size;
  const p = patternOf(name, 0.5);
  const order = groupedOrder(columns, taps, groupOf(p));
  const at = (r: number, j: number): number => kept[r * columns + order[j]!]!;
  for (let r = 0; r < rows; r++)
    for (let j = 0; j < columns; j++) {
      if (p.among !== null) {
        const first = j - (j % p.among);
        let stays = 0;
        for (let i = 0; i < p.among; i++) stays += at(r, first + i);
        if (stays !== p.among / 2) return false;
      }
      const home = at(r - (r % p.block.rows), j - (j % p.block.inputs));
      if (at(r, j) !== home && p.among === null) return false;
    }
  return true;
}

describe("selection", () => {
  it("drops the least of what is compared, as sorting everything does", () => {
    fc.assert(
      fc.property(shapes, fc.double({ min: 0, max: 0.9, noNaN: true }), (o, share) => {
        const rng = createRng(o.seed, "scores");
        const values = Float64Array.from({ length: o.rows * o.columns }, () => Math.round(9 * rng.float()));
        for (const compare of ["matrix", "row"] as const) {
          const kept = selectKept({ values, ...o }, patternOf("unstructured", share), compare, share);
          const sets =
            compare === "matrix"
              ? [[...values.keys()]]
              : Array.from({ length: o.rows }, (_, r) =>
                  Array.from({ length: o.columns }, (_, c) => r * o.columns + c),
                );
          for (const ids of sets) {
            const sorted = [...ids].sort((a, b) => values[a]! - values[b]! || a - b);
            const gone = new Set(sorted.slice(0, Math.floor(share * ids.length)));
            expect(ids.every((i) => (kept[i] === 0) === gone.has(i))).toBe(true);
          }
        }
      }),
      { numRuns: 30 },
    );
  });

  it("follows the pattern along input channels, tap by tap, and keeps as many as counted", () => {
    fc.assert(
      fc.property(
        patterns,
        fc.constantFrom("magnitude" as const, "wanda" as const, "obs" as const),
        fc.constantFrom("none" as const, "feedback" as const),
        fc.constantFrom(1, 9),
        fc.boolean(),
        fc.nat(99),
        (name, criterion, repair, taps, actOrder, seed) => {
          const p = problemOf({ rows: 32, columns: 16 * taps, block: 16, seed });
          const options = prune({ criterion, repair, taps, actOrder, pattern: patternOf(name, 0.4) });
          const { kept, approximation } = pruneWeight(p, options);
          expect(follows(kept, { ...p, taps }, name)).toBe(true);
          expect(approximation.every((v, i) => (v === 0) === (kept[i] === 0))).toBe(true);
          expect(kept.reduce((n, k) => n + k, 0)).toBe(keptCount(p, options));
        },
      ),
      { numRuns: 40 },
    );
  });

  it("says what does not fit", () => {
    expect(misfit(patternOf("2:4", 0.5), 8, 6)).toMatch(/6 input channels/);
    expect(misfit(patternOf("16x1", 0.5), 8, 6)).toMatch(/8 outputs/);
    expect(misfit(patternOf("unstructured", 0.5), 7, 5)).toBeNull();
  });

  it("scores by size, by size times input, and by what others can make up for", () => {
    const p = problemOf({ rows: 4, columns: 24, block: 24, seed: 3 });
    const h = damped(p.gram!, 24, DAMP);
    const invert = (j: number): number => {
      const a = Array.from({ length: 24 }, (_, r) => Array.from({ length: 24 }, (_, c) => h[r * 24 + c]!));
      return solve(
        a,
        Array.from({ length: 24 }, (_, i) => (i === j ? 1 : 0)),
      )[j]!;
    };
    const weight = {
      magnitude: () => 1,
      wanda: (j: number) => p.gram![j * 25]!,
      obs: (j: number) => 1 / invert(j),
    };
    for (const criterion of ["magnitude", "wanda", "obs"] as const) {
      const options = prune({
        criterion,
        repair: "none",
        pattern: patternOf("unstructured", 0.5),
        actOrder: true,
      });
      const values = p.weights.map((w, i) => w * w * weight[criterion](i % 24));
      const compare = criterion === "wanda" ? "row" : "matrix";
      const factored = factorGram(p.gram!, 24, options);
      expect(staticMask(p, options, factored)).toEqual(
        selectKept({ values, rows: 4, columns: 24 }, options.pattern, compare, 0.5),
      );
    }
  });
});

describe("the sweep", () => {
  it("drops and moves weights as the column-by-column update of the paper does", () => {
    fc.assert(
      fc.property(shapes, patterns, (o, name) => {
        const p = problemOf({ ...o, block: o.columns });
        const pattern = patternOf(name, 0.5);
        const h = damped(p.gram!, o.columns, DAMP);
        const loss = Float64Array.from({ length: o.columns }, (_, j) => remaining(h, o.columns, j));
        const scores = (w: Float64Array): Float64Array => w.map((v, i) => v ** 2 / loss[i % o.columns]!);
        const all = selectKept({ values: scores(p.weights), ...o }, pattern, "matrix", 0.5);
        let group: Uint8Array = new Uint8Array(0);
        const plain = obq(p, h, (r, j, w) => {
          const { among } = pattern;
          if (among === null) return all[r * o.columns + j] === 1 ? w[j]! : 0;
          if (j % among === 0)
            group = selectKept(
              { values: scores(w).slice(j, j + among), rows: 1, columns: among },
              pattern,
              "matrix",
              0.5,
            );
          return group[j % among] === 1 ? w[j]! : 0;
        });
        const found = pruneWeight(p, prune({ pattern, repair: "feedback" }));
        expect(Math.max(...found.approximation.map((v, i) => Math.abs(v - plain[i]!)))).toBeLessThan(1e-6);
      }),
      { numRuns: 15 },
    );
  });

  it("over several stretches counts what earlier ones have moved", () => {
    const p = problemOf({ rows: 16, columns: 300, block: 300, seed: 8 });
    const pattern = patternOf("unstructured", 0.5);
    const factored = factorFor(p.gram!, 300, prune({ pattern }));
    const mask = sweepMask(p, factored, pattern);
    const scored: number[] = [];
    errorFeedback(p, factored, {
      begin(s) {
        mask.begin(s);
        let gone = 0;
        for (let r = 0; r < 16; r++) for (let j = s.from; j < s.end; j++) gone += 1 - mask.kept[r * 300 + j]!;
        scored.push(gone);
      },
      choose: (s, r, j, c, target) => (mask.stays(s, r, j, c) ? target : 0),
    });
    expect(scored).toEqual([1024, 1024, 352]);
    const swept = pruneWeight(p, prune({ pattern, repair: "feedback" }));
    expect(swept.kept).toEqual(mask.kept);
    expect(swept.kept).not.toEqual(pruneWeight(p, prune({ pattern, repair: "none" })).kept);
  });

  it("rounds what is repaired as the plain update does, and keeps its zeros", () => {
    fc.assert(
      fc.property(shapes, fc.boolean(), (o, symmetric) => {
        const p = problemOf({ ...o, block: o.columns, symmetric });
        const wide = { ...p, block: 200 };
        const sparse = { pattern: "2:4" as const, ratio: 0.5, taps: 1 };
        const settings = { method: "gptq" as const, damp: DAMP, actOrder: false, rounds: 0, rank: 0, sparse };
        const { fit } = fitWeight(wide, settings);
        const repaired = pruneWeight(p, prune({ pattern: patternOf("2:4", 0.5) })).approximation;
        const got = restored(wide, fit);
        const h = damped(p.gram!, o.columns, DAMP);
        const plain = obq({ ...p, weights: repaired }, h, (r, j, w) => {
          const [s, z] = [fit.scale[r]!, fit.zero[r]!];
          if (repaired[r * o.columns + j] === 0) return 0;
          return Math.fround((nearest(w[j]!, s, z, p.options.grid) - z) * s);
        });
        expect(got.filter((v, i) => Math.abs(v - plain[i]!) > 1e-6).length).toBe(0);
        for (let at = 0; at < got.length; at += 4)
          expect([...got.slice(at, at + 4)].filter((v) => v === 0).length).toBeGreaterThanOrEqual(2);
      }),
      { numRuns: 15 },
    );
  });

  it("leaves the zeros of a sparse weight alone, in error feedback and in learned rounding", () => {
    const p = problemOf({ rows: 8, columns: 48, block: 16, seed: 4 });
    const { approximation } = pruneWeight(p, prune({ pattern: patternOf("unstructured", 0.5) }));
    const q = { ...p, weights: approximation };
    for (const method of ["nearest", "gptq", "rounding"] as const) {
      const settings = { method, damp: DAMP, actOrder: true, rounds: 4, rank: 0, sparse: null };
      const found = fitWeight(q, settings).approximation;
      expect(found.filter((v, i) => approximation[i] === 0 && v !== 0).length).toBe(0);
      expect(errorOf(q, found, p.gram!)).toBeGreaterThan(0);
    }
  });
});

describe("repair", () => {
  it("reaches the least error there is for a mask", () => {
    fc.assert(
      fc.property(shapes, patterns, (o, name) => {
        const p = problemOf({ ...o, block: 16 });
        const h = damped(p.gram!, o.columns, DAMP);
        const { kept } = pruneWeight(
          p,
          prune({ criterion: "magnitude", repair: "none", pattern: patternOf(name, 0.5) }),
        );
        const start = { kept, weights: p.weights.map((w, i) => w * kept[i]!) };
        const found = leastSquares(p, h, start, { tolerance: 1e-4, steps: 100 });
        const least = errorOf(p, plainLeastSquares(p, h, kept), h);
        expect(errorOf(p, found, h) / least - 1).toBeLessThan(1e-6);
        expect(found.every((v, i) => kept[i] === 1 || v === 0)).toBe(true);
      }),
      { numRuns: 20 },
    );
  });

  it("lowers the error step by step: none, feedback, least squares; each better choice lowers it too", () => {
    const p = problemOf({ rows: 32, columns: 144, block: 16, seed: 12 });
    const error = (o: Partial<PruneOptions>): number =>
      pruneWeight(p, prune({ pattern: patternOf("unstructured", 0.5), ...o })).error.noise;
    const [none, feedback, least] = (["none", "feedback", "least-squares"] as const).map((repair) =>
      error({ criterion: "magnitude", repair }),
    ) as [number, number, number];
    expect(feedback).toBeLessThan(none);
    expect(least).toBeLessThanOrEqual(feedback);
    expect(error({ criterion: "wanda", repair: "none" })).toBeLessThan(none);
    expect(error({})).toBeLessThan(least);
  });

  it("moves nothing where nothing is dropped or nothing is known", () => {
    const p = problemOf({ rows: 4, columns: 16, block: 16, seed: 1 });
    expect(pruneWeight(p, prune({ pattern: patternOf("unstructured", 0) })).approximation).toEqual(p.weights);
    const blind = pruneWeight({ ...p, gram: null }, prune({ pattern: patternOf("2:4", 0.5) }));
    const plain = pruneWeight(
      p,
      prune({ criterion: "magnitude", repair: "none", pattern: patternOf("2:4", 0.5) }),
    );
    expect(blind.approximation).toEqual(plain.approximation);
  });
});
