import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { quadraticForm } from "../../../src/numeric/linalg/product.ts";
import { biasCorrection, centred } from "../../../src/numeric/quantize/bias.ts";
import { damped } from "../../../src/numeric/quantize/damped.ts";
import { layerError } from "../../../src/numeric/quantize/error.ts";
import { type FitOptions, fitWeight } from "../../../src/numeric/quantize/fit-weight.ts";
import { gptq } from "../../../src/numeric/quantize/gptq.ts";
import { hqq } from "../../../src/numeric/quantize/hqq.ts";
import { branchProduct, gramRoot, lowRankBranch } from "../../../src/numeric/quantize/low-rank.ts";
import type { Fit } from "../../../src/numeric/quantize/place.ts";
import {
  type BlockFit,
  type BlockProblem,
  blocksOf,
  nearest,
  restored,
} from "../../../src/numeric/quantize/problem.ts";
import { refine } from "../../../src/numeric/quantize/refine.ts";
import { fitNearest, fitWeighted, importanceOf } from "../../../src/numeric/quantize/weighted.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { reference } from "../linalg/reference.ts";
import { inputsOf, momentsOf, obq, problemOf } from "./reference.ts";

const DAMP = 0.01;
const noise = (p: BlockProblem, f: BlockFit): number => layerError(p.weights, restored(p, f), p).noise;
const options: FitOptions = {
  method: "rounding",
  damp: DAMP,
  actOrder: false,
  rounds: 4,
  rank: 0,
  sparse: null,
};

const shapes = fc.record({
  rows: fc.integer({ min: 1, max: 6 }),
  columns: fc.constantFrom(7, 16, 33, 64),
  seed: fc.nat(1000),
  bits: fc.constantFrom(2 as const, 4 as const),
  symmetric: fc.boolean(),
});

describe("data-aware ranges", () => {
  it("are the best of all shrunken ranges", () => {
    fc.assert(
      fc.property(shapes, (o) => {
        const p = problemOf({ ...o, block: 16 });
        const found = fitNearest(p);
        const importance = importanceOf(p);
        const { grid } = p.options;
        for (let g = 0; g < found.scale.length; g++) {
          const [r, b] = [Math.floor(g / blocksOf(p)), g % blocksOf(p)];
          const at = Array.from({ length: Math.min(16, o.columns - b * 16) }, (_, i) => b * 16 + i);
          const cost = (scale: number, zero: number): number =>
            at.reduce((sum, k) => {
              const w = p.weights[r * o.columns + k]!;
              return sum + importance[k]! * (w - (nearest(w, scale, zero, grid) - zero) * scale) ** 2;
            }, 0);
          const own = cost(found.scale[g]!, found.zero[g]!);
          const fit: Fit = { scale: 1, zero: 0 };
          const x = Float64Array.from(at, (k) => p.weights[r * o.columns + k]!);
          for (const shrink of [1, 0.9, 0.75, 0.5]) {
            fitWeighted(
              fit,
              x.map((v) => v * shrink),
              x,
              x.length,
              { ...p.options, search: null },
            );
            expect(own).toBeLessThanOrEqual(cost(fit.scale, fit.zero) * (1 + 1e-9));
          }
        }
      }),
      { numRuns: 20 },
    );
  });
});

describe("gptq", () => {
  it("rounds as the paper's column-by-column update does", () => {
    fc.assert(
      fc.property(shapes, (o) => {
        const p = problemOf({ ...o, block: o.columns });
        const fit = gptq({ ...p, block: 200 }, { damp: DAMP, actOrder: false });
        const plain = obq(p, damped(p.gram!, o.columns, DAMP), (r, j, w) => {
          const [s, z] = [fit.scale[r]!, fit.zero[r]!];
          return Math.fround((nearest(w[j]!, s, z, p.options.grid) - z) * s);
        });
        const got = restored({ ...p, block: 200 }, fit);
        const wrong = got.filter((v, i) => Math.abs(v - plain[i]!) > 1e-6).length;
        // The two may part where a weight lies on the edge between two integers; that is rounding of float64.
        expect(wrong).toBe(0);
      }),
      { numRuns: 20 },
    );
  });

  it("finds a block's scale from the weights as they are when the block begins", () => {
    const p = problemOf({ rows: 3, columns: 48, block: 16, seed: 5 });
    const h = damped(p.gram!, 48, DAMP);
    const fit = gptq(p, { damp: DAMP, actOrder: false });
    const full = { ...p, options: { ...p.options, search: null } };
    const unsearched = gptq(full, { damp: DAMP, actOrder: false });
    const now: Fit = { scale: 1, zero: 0 };
    const scales: number[] = [];
    obq(full, h, (_r, j, w) => {
      if (j % 16 === 0) {
        fitWeighted(now, w.slice(j, j + 16), w.slice(j, j + 16), 16, full.options);
        scales.push(now.scale);
      }
      return Math.fround((nearest(w[j]!, now.scale, now.zero, p.options.grid) - now.zero) * now.scale);
    });
    expect([...unsearched.scale]).toEqual(scales);
    expect(noise(p, fit)).toBeLessThan(noise(p, fitNearest(p)));
  });

  it("in the order of input sizes equals the sweep over reordered columns", () => {
    const p = problemOf({ rows: 4, columns: 40, block: 40, seed: 9 });
    const order = Array.from({ length: 40 }, (_, i) => i).sort(
      (a, b) => p.gram![b * 41]! - p.gram![a * 41]! || a - b,
    );
    const moved = {
      ...p,
      weights: Float64Array.from(p.weights, (_, i) => p.weights[Math.floor(i / 40) * 40 + order[i % 40]!]!),
      gram: Float64Array.from(p.gram!, (_, i) => p.gram![order[Math.floor(i / 40)]! * 40 + order[i % 40]!]!),
    };
    const a = gptq(p, { damp: DAMP, actOrder: true });
    const b = gptq({ ...moved, block: 200 }, { damp: DAMP, actOrder: false });
    for (let i = 0; i < a.q.length; i++) expect(a.q[Math.floor(i / 40) * 40 + order[i % 40]!]).toBe(b.q[i]);
  });

  it("beats rounding to nearest by more than 2 dB on correlated inputs and survives inputs that are never there", () => {
    for (const block of [16, 32, 512]) {
      const p = problemOf({ rows: 16, columns: 300, block, seed: block });
      const gain =
        10 * Math.log10(noise(p, fitNearest(p)) / noise(p, gptq(p, { damp: DAMP, actOrder: true })));
      expect(gain).toBeGreaterThan(2);
    }
    const p = problemOf({ rows: 4, columns: 32, block: 16, seed: 3 });
    const gram = p.gram!.map((v, i) => (i % 32 === 7 || Math.floor(i / 32) === 7 ? 0 : v));
    const f = gptq({ ...p, gram }, { damp: DAMP, actOrder: false });
    expect(f.scale.every((s) => s > 0 && Number.isFinite(s))).toBe(true);
    const none = gptq({ ...p, gram: new Float64Array(32 * 32) }, { damp: DAMP, actOrder: false });
    expect(none.scale.every((s) => s > 0)).toBe(true);
  });
});

describe("learned rounding", () => {
  it("never raises the error, and ends where no single integer can lower it", () => {
    fc.assert(
      fc.property(shapes, (o) => {
        const p = problemOf({ ...o, block: 16 });
        const fit = gptq(p, { damp: DAMP, actOrder: false });
        const h = damped(p.gram!, o.columns, DAMP);
        const cost = (f: BlockFit): number => {
          const now = restored(p, f);
          return quadraticForm(
            p.weights.map((w, i) => w - now[i]!),
            o.rows,
            h,
            o.columns,
          );
        };
        const before = cost(fit);
        refine(p, fit, { damp: DAMP, rounds: 200 });
        const after = cost(fit);
        expect(after).toBeLessThanOrEqual(before * (1 + 1e-6));
        for (let i = 0; i < fit.q.length; i += 3)
          for (const step of [-1, 1]) {
            const q = fit.q.slice();
            q[i] = Math.min(p.options.grid.hi, Math.max(p.options.grid.lo, q[i]! + step));
            expect(cost({ ...fit, q })).toBeGreaterThanOrEqual(after * (1 - 1e-6));
          }
      }),
      { numRuns: 12 },
    );
  });
});

describe("hqq", () => {
  it("does not raise the mean error that it watches, and reports what integer zero points cost", () => {
    const p = problemOf({ rows: 8, columns: 64, block: 32, seed: 4 });
    const found = hqq(p);
    let [start, end] = [0, 0];
    for (let g = 0; g < found.floatZero.length; g++) {
      const [r, b] = [Math.floor(g / 2), g % 2];
      const x = p.weights.slice(r * 64 + b * 32, r * 64 + b * 32 + 32);
      const fit: Fit = { scale: 1, zero: 0 };
      fitWeighted(fit, x, x, 32, { ...p.options, search: null });
      const { lo, hi } = p.options.grid;
      const error = (z: number): number =>
        x.reduce((sum, w) => {
          const q = Math.min(hi, Math.max(lo, Math.round(w / fit.scale + z)));
          return sum + Math.abs(w - (q - z) * fit.scale);
        }, 0);
      start += error(fit.zero);
      end += error(found.floatZero[g]!);
      expect(found.fit.scale[g]).toBe(Math.fround(fit.scale));
    }
    expect(end).toBeLessThan(start);
    const plain = { ...p, gram: null };
    expect(noise(plain, found.fit) / found.noise).toBeCloseTo(1, 4);
    expect(found.floatNoise).toBeLessThan(found.noise);
    expect(() => hqq(problemOf({ rows: 1, columns: 8, block: 8, seed: 1, symmetric: true }))).toThrow(
      /fixed/,
    );
  });
});

describe("low-rank branch", () => {
  it("leaves the least error any matrix of that rank can leave, up to half precision", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 30 }),
        fc.integer({ min: 2, max: 30 }),
        fc.integer({ min: 1, max: 6 }),
        fc.nat(1000),
        fc.boolean(),
        (rows, columns, rank, seed, data) => {
          const rng = createRng(seed);
          const d = Float64Array.from({ length: rows * columns }, () => rng.normal());
          const gram = data ? momentsOf(inputsOf(3 * columns, columns, seed), columns).gram : null;
          const root = gram === null ? null : gramRoot(gram, columns, 0);
          const b = lowRankBranch(d, { rows, columns }, rank, root);
          const part = branchProduct(b, rows, columns);
          const left = d.map((v, i) => v - part[i]!);
          const h =
            gram ?? Float64Array.from({ length: columns ** 2 }, (_, i) => (i % (columns + 1) ? 0 : 1));
          const dh = reference.product(d, h, { m: rows, n: columns, k: columns });
          const values = reference.jacobi(reference.product(dh, d, { m: rows, n: rows, k: columns }), rows);
          const total = values.reduce((s, v) => s + v, 0);
          const least = values.slice(b.rank).reduce((s, v) => s + Math.max(0, v), 0);
          const found = quadraticForm(left, rows, h, columns);
          expect((found - least) / total).toBeGreaterThan(-1e-9);
          expect((found - least) / total).toBeLessThan(2e-3);
        },
      ),
      { numRuns: 25 },
    );
  });

  it("and refits leave less than integers alone", () => {
    const p = problemOf({ rows: 24, columns: 48, block: 16, seed: 8, bits: 2 });
    const alone = fitWeight(p, options);
    const both = fitWeight(p, { ...options, rank: 4 });
    expect(both.branch!.rank).toBe(4);
    expect(both.error.noise).toBeLessThan(alone.error.noise);
    const part = branchProduct(both.branch!, 24, 48);
    const whole = restored(p, both.fit).map((v, i) => v + part[i]!);
    expect(layerError(p.weights, whole, p).noise).toBeCloseTo(both.error.noise, 12);
  });
});

describe("predicted error", () => {
  it("is what running the layer on the inputs gives, with and without a corrected bias", () => {
    const [rows, columns, positions] = [6, 32, 80];
    const x = inputsOf(positions, columns, 2);
    const { gram, mean } = momentsOf(x, columns);
    for (const method of ["nearest", "hqq", "gptq", "rounding"] as const)
      for (const corrected of [false, true]) {
        const h = corrected ? centred(gram, mean) : gram;
        const p = { ...problemOf({ rows, columns, block: 16, seed: 2 }), gram: h };
        const found = fitWeight(p, { ...options, method });
        const bias = corrected
          ? biasCorrection(p.weights, found.approximation, mean)
          : new Float64Array(rows);
        let measured = 0;
        for (let t = 0; t < positions; t++)
          for (let r = 0; r < rows; r++) {
            let e = -bias[r]!;
            for (let i = 0; i < columns; i++)
              e +=
                (p.weights[r * columns + i]! - found.approximation[r * columns + i]!) * x[t * columns + i]!;
            measured += (e * e) / positions;
          }
        expect(Math.abs(found.error.noise / measured - 1)).toBeLessThan(1e-9);
      }
  });
});
