import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  addMultiply,
  block,
  matrix,
  multiply,
  selfProduct,
  turned,
} from "../../../src/numeric/linalg/gemm.ts";
import { leadingSvd } from "../../../src/numeric/linalg/leading-svd.ts";
import { orthonormalRows } from "../../../src/numeric/linalg/orthonormal.ts";
import { viewOf } from "../../../src/numeric/linalg/product.ts";
import { truncatedSvd } from "../../../src/numeric/linalg/svd.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { reference } from "./reference.ts";

const size = fc.integer({ min: 1, max: 90 });
const seed = fc.integer({ min: 0, max: 1e6 });
const RUNS = { numRuns: 25 };

function random(n: number, s: number): Float64Array {
  const rng = createRng(s);
  return Float64Array.from({ length: n }, () => rng.normal());
}
const largest = (x: Float64Array): number => x.reduce((a, b) => Math.max(a, Math.abs(b)), 0);

/** Rows of a matrix with singular values `values`, from random orthonormal factors. */
function withValues(m: number, n: number, values: readonly number[]): Float64Array {
  const u = orthonormalRows(random(values.length * m, 1), values.length, m);
  const v = orthonormalRows(random(values.length * n, 2), values.length, n);
  for (const [i, s] of values.entries()) for (let k = 0; k < m; k++) u[i * m + k]! *= s;
  return multiply(turned(matrix(u, values.length, m)), matrix(v, values.length, n));
}

describe("vector products of matrices", () => {
  it("agree with the triple loop on any sizes, blocks and transposes", () => {
    fc.assert(
      fc.property(size, size, fc.integer({ min: 1, max: 600 }), seed, (m, n, k, s) => {
        const a = random(m * k, s);
        const b = random(n * k, s + 1);
        const plain = reference.product(a, b, { m, n, k });
        const c = plain.slice();
        addMultiply(viewOf(c, m, n), -1, matrix(a, m, k), turned(matrix(b, n, k)));
        expect(largest(c) / largest(plain)).toBeLessThan(1e-12);
        const [r0, r1, c0, c1] = [m >> 2, m, n >> 1, n];
        const inner = multiply(
          block(matrix(a, m, k), r0, r1, 0, k),
          block(turned(matrix(b, n, k)), 0, k, c0, c1),
        );
        for (let i = r0; i < r1; i++)
          for (let j = c0; j < c1; j++)
            expect(inner[(i - r0) * (c1 - c0) + j - c0]).toBeCloseTo(plain[i * n + j]!, 8);
      }),
      RUNS,
    );
  });
  it("of a matrix with itself are symmetric to the bit", () => {
    const [n, k] = [300, 37];
    const x = random(n * k, 5);
    const g = selfProduct(matrix(x, n, k));
    const plain = reference.product(x, x, { m: n, n, k });
    expect(g.every((v, at) => v === g[(at % n) * n + Math.floor(at / n)])).toBe(true);
    expect(largest(g.map((v, i) => v - plain[i]!))).toBeLessThan(1e-11);
  });
  it("refuse sizes that do not fit", () => {
    const x = new Float64Array(6);
    expect(() => multiply(matrix(x, 2, 3), matrix(x, 2, 3))).toThrow("2×3 times 2×3");
  });
});

describe("orthonormal rows", () => {
  it("are orthonormal and span the given ones, however dependent those are", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 0, max: 40 }),
        seed,
        fc.boolean(),
        (count, more, s, repeat) => {
          const length = count + more;
          const x = random(count * length, s);
          if (repeat)
            for (let i = 0; i < count >> 1; i++)
              x.copyWithin((count - 1 - i) * length, i * length, (i + 1) * length);
          const q = orthonormalRows(x, count, length);
          const rank = count - (repeat ? count >> 1 : 0);
          const g = multiply(matrix(q, count, length), turned(matrix(q, count, length)));
          for (let i = 0; i < count; i++) g[i * count + i]! -= i < rank ? 1 : 0;
          expect(largest(g)).toBeLessThan(1e-10);
          const coefficients = multiply(matrix(x, count, length), turned(matrix(q, count, length)));
          const back = multiply(matrix(coefficients, count, count), matrix(q, count, length));
          expect(largest(back.map((v, i) => v - x[i]!)) / largest(x)).toBeLessThan(1e-9);
        },
      ),
      RUNS,
    );
  });
});

describe("leading singular values", () => {
  it("of small matrices are those of the plain decomposition", () => {
    fc.assert(
      fc.property(size, size, seed, (m, n, s) => {
        const a = random(m * n, s);
        const rank = Math.min(m, n);
        const found = leadingSvd(matrix(a, m, n), { rank });
        const plain = truncatedSvd(a, m, n, rank);
        expect(largest(found.values.map((v, i) => v - plain.values[i]!)) / plain.values[0]!).toBeLessThan(
          1e-7,
        );
        for (let i = 0; i < rank; i++) for (let k = 0; k < m; k++) found.left[i * m + k]! *= found.values[i]!;
        const back = multiply(turned(matrix(found.left, rank, m)), matrix(found.right, rank, n));
        expect(largest(back.map((v, i) => v - a[i]!))).toBeLessThan(1e-6 * largest(a));
      }),
      RUNS,
    );
  });
  it.each([
    [400, 900],
    [900, 400],
  ])("of large ones (%i×%i) come out of samples", (m, n) => {
    const values = Array.from({ length: 400 }, (_, i) => 100 * 0.97 ** i);
    const a = withValues(m, n, values);
    const found = leadingSvd(matrix(Float32Array.from(a), m, n), { rank: 40 });
    // Oversampling by 36 at this decay leaves (0.97³⁶)² = 0.11 of the neighbouring directions after two products.
    for (let i = 0; i < 40; i++) expect(Math.abs(found.values[i]! / values[i]! - 1)).toBeLessThan(0.11 ** 2);
    const tail = (from: number): number => values.slice(from).reduce((s, v) => s + v * v, 0);
    const rest = a.slice();
    for (let i = 0; i < 40; i++) for (let k = 0; k < m; k++) found.left[i * m + k]! *= -found.values[i]!;
    addMultiply(viewOf(rest, m, n), 1, turned(matrix(found.left, 40, m)), matrix(found.right, 40, n));
    const error = rest.reduce((s, v) => s + v * v, 0);
    expect(error / tail(40)).toBeLessThan(1 + 0.11 ** 2);
    // What was found is an exact projection: energies add up.
    const kept = found.values.reduce((s, v) => s + v * v, 0);
    expect((kept + error) / tail(0)).toBeCloseTo(1, 5);
  });
  it("find all of a matrix of low rank, and zeros after it", () => {
    const a = withValues(350, 400, [9, 4, 1]);
    const found = leadingSvd(matrix(a, 350, 400), { rank: 5 });
    expect([...found.values].map((v) => Number(v.toFixed(6)))).toEqual([9, 4, 1, 0, 0]);
  });
  it("are the same bits every time, other directions with another seed", () => {
    const a = matrix(random(400 * 500, 3), 400, 500);
    const found = leadingSvd(a, { rank: 10 });
    expect(leadingSvd(a, { rank: 10 })).toEqual(found);
    expect(leadingSvd(a, { rank: 10, seed: 1 }).values).not.toEqual(found.values);
  });
});
