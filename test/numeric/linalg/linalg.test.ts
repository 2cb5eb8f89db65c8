import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cholesky, reverseCholesky } from "../../../src/numeric/linalg/cholesky.ts";
import { symmetricEigen, symmetricEigenvalues } from "../../../src/numeric/linalg/eigen.ts";
import { addProduct, part, product, quadraticForm, viewOf } from "../../../src/numeric/linalg/product.ts";
import { truncatedSvd } from "../../../src/numeric/linalg/svd.ts";
import { invertLower, solveRows, solveRowsUpper } from "../../../src/numeric/linalg/triangular.ts";
import { createRng } from "../../../src/numeric/rng.ts";
import { positive, reference } from "./reference.ts";

const size = fc.integer({ min: 1, max: 150 });
const seed = fc.integer({ min: 0, max: 1e6 });
const RUNS = { numRuns: 25 };

/** Largest difference relative to the largest entry. */
function apart(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = 0;
  let top = 1e-300;
  for (let i = 0; i < a.length; i++) {
    worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
    top = Math.max(top, Math.abs(b[i]!));
  }
  return a.length === b.length ? worst / top : Number.POSITIVE_INFINITY;
}

function random(n: number, s: number): Float64Array {
  const rng = createRng(s);
  return Float64Array.from({ length: n }, () => rng.normal());
}

describe("matrix product", () => {
  it("agrees with the triple loop on any sizes and views", () => {
    fc.assert(
      fc.property(size, size, fc.integer({ min: 1, max: 600 }), seed, (m, n, k, s) => {
        const a = random(m * k, s);
        const b = random(n * k, s + 1);
        const plain = reference.product(a, b, { m, n, k });
        expect(apart(product(viewOf(a, m, k), viewOf(b, n, k)), plain)).toBeLessThan(1e-12);
        const wide = new Float64Array((m + 2) * (n + 3));
        addProduct(
          part(viewOf(wide, m + 2, n + 3), 1, m + 1, 2, n + 2),
          -2,
          viewOf(a, m, k),
          viewOf(b, n, k),
        );
        expect(wide[2 + n + 3]! + 2 * plain[0]!).toBeCloseTo(0, 8);
        expect(wide.subarray(0, n + 5).every((x) => x === 0)).toBe(true);
      }),
      RUNS,
    );
  });
  it("gives tr(d·h·dᵀ)", () => {
    const [rows, n] = [70, 33];
    const h = positive(n, 3);
    const d = random(rows * n, 4);
    let sum = 0;
    for (let r = 0; r < rows; r++)
      for (let i = 0; i < n; i++)
        for (let j = 0; j < n; j++) sum += d[r * n + i]! * h[i * n + j]! * d[r * n + j]!;
    expect(quadraticForm(d, rows, h, n) / sum).toBeCloseTo(1, 12);
  });
});

describe("cholesky", () => {
  it("equals the textbook loop and multiplies back", () => {
    fc.assert(
      fc.property(size, seed, (n, s) => {
        const a = positive(n, s);
        const l = cholesky(a, n)!;
        expect(apart(l, reference.cholesky(a, n))).toBeLessThan(1e-9);
        expect(apart(product(viewOf(l, n, n), viewOf(l, n, n)), a)).toBeLessThan(1e-11);
      }),
      RUNS,
    );
  });
  it("says when a matrix is not positive definite", () => {
    expect(cholesky(Float64Array.of(1, 2, 2, 1), 2)).toBeNull();
    expect(cholesky(Float64Array.of(0), 1)).toBeNull();
    expect(cholesky(Float64Array.of(Number.NaN), 1)).toBeNull();
  });
  it("from the other end gives h = v·vᵀ with upper v", () => {
    fc.assert(
      fc.property(size, seed, (n, s) => {
        const h = positive(n, s);
        const rows = reverseCholesky(h, n)!;
        const v = new Float64Array(n * n);
        for (let i = 0; i < n; i++) for (let j = i; j < n; j++) v[i * n + j] = rows[j * n + i]!;
        expect(apart(product(viewOf(v, n, n), viewOf(v, n, n)), h)).toBeLessThan(1e-11);
      }),
      RUNS,
    );
  });
});

describe("triangular solves", () => {
  it("undo the product with the factor", () => {
    fc.assert(
      fc.property(size, fc.integer({ min: 1, max: 9 }), seed, (n, rows, s) => {
        const l = cholesky(positive(n, s), n)!;
        const x = random(rows * n, s + 2);
        const b = product(viewOf(x, rows, n), viewOf(l, n, n));
        solveRows(l, n, b, rows);
        expect(apart(b, x)).toBeLessThan(1e-6);
        const c = new Float64Array(rows * n);
        for (let r = 0; r < rows; r++)
          for (let i = 0; i < n; i++)
            for (let j = 0; j < n; j++) c[r * n + j]! += x[r * n + i]! * l[i * n + j]!;
        solveRowsUpper(l, n, c, rows);
        expect(apart(c, x)).toBeLessThan(1e-6);
        const inverse = invertLower(l, n);
        const one = reference.product(inverse, transposeOf(l, n), { m: n, n, k: n });
        for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) one[i * n + j]! -= i === j ? 1 : 0;
        expect(Math.max(...one.map(Math.abs))).toBeLessThan(1e-6);
      }),
      RUNS,
    );
  });
});

function transposeOf(x: Float64Array, n: number): Float64Array {
  return Float64Array.from(x, (_, i) => x[(i % n) * n + Math.floor(i / n)]!);
}

describe("symmetric eigenvalues", () => {
  it("agree with Jacobi rotations; vectors are orthonormal and reproduce the matrix", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), seed, fc.boolean(), (n, s, deficient) => {
        const x = random(n * n, s);
        if (deficient) x.fill(0, 0, Math.floor(n / 2) * n);
        const a = Float64Array.from(x, (_, i) => {
          const [r, c] = [Math.floor(i / n), i % n];
          return x[r * n + c]! + x[c * n + r]!;
        });
        const e = symmetricEigen(a, n);
        const jacobi = reference.jacobi(a, n);
        const alone = symmetricEigenvalues(a, n);
        const top = Math.max(...jacobi.map(Math.abs), 1e-300);
        for (let i = 0; i < n; i++) expect(Math.abs(e.values[i]! - jacobi[i]!) / top).toBeLessThan(1e-11);
        for (let i = 0; i < n; i++) expect(Math.abs(alone[i]! - jacobi[i]!) / top).toBeLessThan(1e-11);
        const gram = product(viewOf(e.vectors, n, n), viewOf(e.vectors, n, n));
        for (let i = 0; i < n; i++) gram[i * n + i]! -= 1;
        expect(Math.max(...gram.map(Math.abs))).toBeLessThan(1e-11);
        const back = new Float64Array(n * n);
        for (let v = 0; v < n; v++)
          for (let i = 0; i < n; i++)
            for (let j = 0; j < n; j++)
              back[i * n + j]! += e.values[v]! * e.vectors[v * n + i]! * e.vectors[v * n + j]!;
        expect(apart(back, a)).toBeLessThan(1e-10);
      }),
      RUNS,
    );
  });
  it("handle diagonal, zero and repeated cases", () => {
    expect([...symmetricEigen(Float64Array.of(2, 0, 0, 0, 5, 0, 0, 0, 2), 3).values]).toEqual([5, 2, 2]);
    expect([...symmetricEigen(new Float64Array(16), 4).values]).toEqual([0, 0, 0, 0]);
  });
});

describe("truncated singular values", () => {
  it("leave the least error any matrix of that rank can leave", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 8 }),
        seed,
        (rows, columns, wanted, s) => {
          const a = random(rows * columns, s);
          const svd = truncatedSvd(a, rows, columns, wanted);
          const left = a.slice();
          for (let v = 0; v < svd.rank; v++)
            for (let i = 0; i < rows; i++)
              for (let j = 0; j < columns; j++)
                left[i * columns + j]! -=
                  svd.values[v]! * svd.left[v * rows + i]! * svd.right[v * columns + j]!;
          const gram = reference.product(a, a, { m: rows, n: rows, k: columns });
          const least = reference
            .jacobi(gram, rows)
            .slice(svd.rank)
            .reduce((sum, x) => sum + Math.max(0, x), 0);
          const found = left.reduce((sum, x) => sum + x * x, 0);
          const total = a.reduce((sum, x) => sum + x * x, 0);
          expect(Math.abs(found - least) / total).toBeLessThan(1e-10);
        },
      ),
      RUNS,
    );
  });
});
