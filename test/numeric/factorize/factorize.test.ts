import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { narrowScores } from "../../../src/numeric/factorize/heads.ts";
import { factorProduct, lowRankFactors, weighedSpectrum } from "../../../src/numeric/factorize/low-rank.ts";
import {
  channelCovariance,
  type TuckerProblem,
  tuckerFactors,
  tuckerProduct,
  tuckerSpectra,
} from "../../../src/numeric/factorize/tucker.ts";
import { type Weighing, weighedEnergy } from "../../../src/numeric/factorize/weighing.ts";
import { matrix } from "../../../src/numeric/linalg/gemm.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { positive, reference } from "../linalg/reference.ts";

const seed = fc.integer({ min: 0, max: 1e6 });
const RUNS = { numRuns: 20 };

function random(n: number, s: number): Float64Array {
  const rng = createRng(s);
  return Float64Array.from({ length: n }, () => rng.normal());
}

/** Gram matrix of inputs of very different sizes, correlated. */
function uneven(n: number, s: number): Float64Array {
  const h = positive(n, s);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) h[i * n + j]! *= 1 / ((1 + i) * (1 + j));
  return h;
}

/** tr(d·h·dᵀ) by loops. */
function energy(d: Float64Array, rows: number, h: Float64Array): number {
  const n = d.length / rows;
  let sum = 0;
  for (let r = 0; r < rows; r++)
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++) sum += d[r * n + i]! * h[i * n + j]! * d[r * n + j]!;
  return sum;
}

const sum = (x: Float64Array): number => x.reduce((a, b) => a + b, 0);
const minus = (a: ArrayLike<number>, b: Float64Array): Float64Array => b.map((v, i) => a[i]! - v);

describe("low-rank factors", () => {
  it("leave the tail of the weighed spectrum, which the eigenvalues of W·h·Wᵀ are", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 16 }), fc.integer({ min: 2, max: 16 }), seed, (m, n, s) => {
        const w = random(m * n, s);
        const h = uneven(n, s);
        const problem = { weights: matrix(w, m, n), weighing: { gram: h, size: n }, damp: 0 };
        const spectrum = weighedSpectrum(problem);
        const whw = new Float64Array(m * m);
        for (let i = 0; i < m; i++)
          for (let j = 0; j < m; j++)
            for (let a = 0; a < n; a++)
              for (let b = 0; b < n; b++) whw[i * m + j]! += w[i * n + a]! * h[a * n + b]! * w[j * n + b]!;
        const values = reference.jacobi(whw, m);
        for (let i = 0; i < Math.min(m, n); i++)
          expect(Math.abs(spectrum[i]! - values[i]!)).toBeLessThan(1e-8 * values[0]!);
        const rank = Math.max(1, Math.min(m, n) >> 1);
        const left = minus(w, factorProduct(lowRankFactors(problem, rank)));
        expect(Math.abs(energy(left, m, h) - sum(spectrum.subarray(rank)))).toBeLessThan(
          1e-7 * sum(spectrum),
        );
      }),
      RUNS,
    );
  });

  it("weighed by channel equal those weighed by the same matrix for every tap", () => {
    const [rows, channels, taps] = [9, 5, 4];
    const w = random(rows * channels * taps, 3);
    const c = uneven(channels, 4);
    const size = channels * taps;
    const kron = new Float64Array(size * size);
    for (let t = 0; t < taps; t++)
      for (let i = 0; i < channels; i++)
        for (let j = 0; j < channels; j++)
          kron[(t * channels + i) * size + t * channels + j] = c[i * channels + j]!;
    const weights = matrix(w, rows, size);
    const whole = lowRankFactors({ weights, weighing: { gram: kron, size }, damp: 0.01 }, 3);
    const grouped = lowRankFactors({ weights, weighing: { gram: c, size: channels }, damp: 0.01 }, 3);
    const [a, b] = [factorProduct(whole), factorProduct(grouped)];
    expect(Math.max(...minus(a, b).map(Math.abs))).toBeLessThan(1e-7);
    const d = minus(w, b);
    expect(weighedEnergy(d, { gram: c, size: channels }) / energy(d, rows, kron)).toBeCloseTo(1, 10);
  });
});

describe("Tucker factors", () => {
  const problem = (s: number, weighing: Weighing | null): TuckerProblem => ({
    weights: Float32Array.from(random(12 * 8 * 4, s)),
    outputs: 12,
    channels: 8,
    taps: 4,
    weighing,
    damp: 1e-6,
  });
  const weighings = (s: number): (Weighing | null)[] => [
    null,
    { gram: uneven(8, s), size: 8 },
    { gram: uneven(32, s), size: 32 },
  ];

  it("of full rank are the weight", () => {
    for (const weighing of weighings(1)) {
      const p = problem(2, weighing);
      const made = tuckerProduct(tuckerFactors(p, { input: 8, output: 12 }), 8, 4);
      expect(Math.max(...minus(p.weights, made).map(Math.abs))).toBeLessThan(1e-5);
    }
  });

  it("leave no more than both tails and no less than one", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 1, max: 12 }),
        seed,
        (input, output, s) => {
          const p = problem(s, null);
          const made = tuckerProduct(tuckerFactors(p, { input, output }), 8, 4);
          const error = weighedEnergy(minus(p.weights, made), null);
          const spectra = tuckerSpectra(p);
          const [a, b] = [sum(spectra.input.subarray(input)), sum(spectra.output.subarray(output))];
          expect(error).toBeLessThan(a + b + 1e-4);
          expect(error).toBeGreaterThan(Math.max(a, b) - 1e-4);
        },
      ),
      RUNS,
    );
  });

  it("fit what they are weighed by: patches better than channels, channels better than nothing", () => {
    fc.assert(
      fc.property(seed, (s) => {
        const h = uneven(32, s);
        const channels = channelCovariance(h, 8, 4);
        const errors = [null, { gram: channels, size: 8 }, { gram: h, size: 32 }].map((weighing) => {
          const p = problem(s, weighing);
          const made = tuckerProduct(tuckerFactors(p, { input: 4, output: 6 }), 8, 4);
          return energy(minus(p.weights, made), 12, h);
        });
        expect(errors[2]!).toBeLessThan(errors[1]! * (1 + 1e-6));
        expect(errors[2]!).toBeLessThan(errors[0]!);
      }),
      RUNS,
    );
  });

  it("are finite at every pair of ranks", () => {
    const [outputs, channels, taps] = [6, 13, 9];
    const w = Float32Array.from(random(outputs * channels * taps, 8));
    for (let input = 1; input <= channels; input++)
      for (let output = 1; output <= outputs; output++) {
        const p = { weights: w, outputs, channels, taps, weighing: null, damp: 0 };
        const made = tuckerProduct(tuckerFactors(p, { input, output }), channels, taps);
        expect(made.length).toBe(w.length);
        expect(made.every(Number.isFinite)).toBe(true);
      }
  });

  it("are of one magnitude", () => {
    const f = tuckerFactors(
      { ...problem(5, null), weights: Float32Array.from(random(384, 6).map((v) => 1e-4 * v)) },
      { input: 4, output: 6 },
    );
    const rms = (x: Float64Array): number => Math.sqrt(x.reduce((a, v) => a + v * v, 0) / x.length);
    expect(rms(f.core) / rms(f.input)).toBeCloseTo(1, 6);
    expect(rms(f.output) / rms(f.input)).toBeCloseTo(1, 6);
  });
});

describe("narrower heads", () => {
  const [heads, width, columns, positions] = [2, 6, 9, 30];
  const size = heads * width;

  /** Inputs with what is known of them. */
  const inputsOf = (s: number) => {
    const x = random(positions * columns, s).map((v, i) => v / (1 + (i % columns)) + 0.2);
    const gram = new Float64Array(columns * columns);
    const mean = new Float64Array(columns);
    for (let p = 0; p < positions; p++)
      for (let i = 0; i < columns; i++) {
        mean[i]! += x[p * columns + i]! / positions;
        for (let j = 0; j < columns; j++)
          gram[i * columns + j]! += (x[p * columns + i]! * x[p * columns + j]!) / positions;
      }
    return { x, gram, mean };
  };
  const project = (
    x: Float64Array,
    weights: Float64Array,
    bias: Float64Array,
    outputs: number,
  ): Float64Array => {
    const y = reference.product(x, weights, { m: positions, n: outputs, k: columns });
    return y.map((v, i) => v + bias[i % outputs]!);
  };

  it("leave of all scores what the spectrum says, and are exact at full width", () => {
    fc.assert(
      fc.property(seed, fc.integer({ min: 1, max: width }), (s, rank) => {
        const [a, b] = [inputsOf(s), inputsOf(s + 1)];
        const q = { weights: random(size * columns, s + 2), bias: random(size, s + 3), inputs: a };
        const k = { weights: random(size * columns, s + 4), bias: random(size, s + 5), inputs: b };
        const found = narrowScores(q, k, { heads, width, rank });
        const [y, z] = [project(a.x, q.weights, q.bias, size), project(b.x, k.weights, k.bias, size)];
        const [v, w] = [
          project(a.x, found.q.weights, found.q.bias!, heads * rank),
          project(b.x, found.k.weights, found.k.bias!, heads * rank),
        ];
        let [noise, signal] = [0, 0];
        for (let h = 0; h < heads; h++)
          for (let i = 0; i < positions; i++)
            for (let j = 0; j < positions; j++) {
              let [exact, narrow] = [0, 0];
              for (let d = 0; d < width; d++)
                exact += y[i * size + h * width + d]! * z[j * size + h * width + d]!;
              for (let d = 0; d < rank; d++)
                narrow += v[(i * heads + h) * rank + d]! * w[(j * heads + h) * rank + d]!;
              noise += (exact - narrow) ** 2 / positions ** 2;
              signal += exact ** 2 / positions ** 2;
            }
        const total = sum(found.spectrum);
        expect(Math.abs(total / signal - 1)).toBeLessThan(1e-4);
        expect(Math.abs(noise - sum(found.spectrum.subarray(rank)))).toBeLessThan(1e-4 * signal);
      }),
      RUNS,
    );
  });
});
