import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { unpackBits } from "../../../src/numeric/bits.ts";
import { miniToF32 } from "../../../src/numeric/minifloat.ts";
import { packRows, unpackNBits } from "../../../src/numeric/nbits.ts";
import { float8Rows, nvfp4 } from "../../../src/numeric/quantize/float-grid.ts";
import { weightedPalette } from "../../../src/numeric/quantize/palette.ts";

/** Least weighted cost of `k` runs of sorted values, by trying every split. */
function bruteForce(x: readonly number[], w: readonly number[], k: number): number {
  const run = (a: number, b: number): number => {
    const total = w.slice(a, b).reduce((s, v) => s + v, 0);
    if (total === 0) return 0;
    const c = x.slice(a, b).reduce((s, v, i) => s + v * w[a + i]!, 0) / total;
    return x.slice(a, b).reduce((s, v, i) => s + w[a + i]! * (v - c) ** 2, 0);
  };
  const best = (end: number, left: number): number => {
    if (left === 1) return run(0, end);
    let least = Number.POSITIVE_INFINITY;
    for (let from = 0; from <= end; from++) least = Math.min(least, best(from, left - 1) + run(from, end));
    return least;
  };
  return best(x.length, k);
}

describe("palette", () => {
  it("is the best there is", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: -20, max: 20 }), fc.integer({ min: 0, max: 3 })), {
          minLength: 1,
          maxLength: 14,
        }),
        fc.integer({ min: 1, max: 4 }),
        (pairs, k) => {
          const x = Float64Array.from(pairs, ([v]) => v / 4);
          const w = Float64Array.from(pairs, ([, v]) => v);
          const p = weightedPalette(x, w, k);
          const sorted = pairs.map(([v, c]) => [v / 4, c] as const).sort((a, b) => a[0] - b[0]);
          const least = bruteForce(
            sorted.map(([v]) => v),
            sorted.map(([, c]) => c),
            k,
          );
          expect(p.noise).toBeCloseTo(least, 9);
          const own = x.reduce((s, v, i) => s + w[i]! * (v - p.codebook[p.indices[i]!]!) ** 2, 0);
          expect(own).toBeCloseTo(least, 9);
          expect(p.codebook.every(Number.isFinite)).toBe(true);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe("packed rows", () => {
  it("come back from MatMulNBits' layout", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(2 as const, 4 as const, 8 as const),
        fc.constantFrom(16, 32),
        fc.integer({ min: 1, max: 70 }),
        fc.integer({ min: 1, max: 5 }),
        fc.nat(),
        (bits, blockSize, K, N, seed) => {
          let s = seed;
          const any = (): number => {
            s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
            return (s >>> 8) % 2 ** bits;
          };
          const blocks = Math.ceil(K / blockSize);
          const q = Int16Array.from({ length: N * K }, any);
          const zero = Int16Array.from({ length: N * blocks }, any);
          const packed = packRows({ q, zero }, { K, N, bits, blockSize });
          const scales = new Float32Array(N * blocks).fill(1);
          const back = unpackNBits({ ...packed, scales }, { K, N, bits, blockSize, order: "NK" });
          for (let i = 0; i < q.length; i++) {
            const g = Math.floor(i / K) * blocks + Math.floor((i % K) / blockSize);
            expect(back[i]).toBe(q[i]! - zero[g]!);
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe("float grids", () => {
  it("FP8 rows take known codes", () => {
    const r = float8Rows(Float32Array.of(448, 1, -2, 0.5, 0, 0, 0, 0), 2);
    expect([...r.codes]).toEqual([0x7e, 0x38, 0xc0, 0x30, 0, 0, 0, 0]);
    expect([...r.scale]).toEqual([1, 1]);
  });
  it("NVFP4 takes known bytes", () => {
    const x = Float32Array.from([0.5, 1, -6, 1.5, 3, ...new Array<number>(11).fill(0)]);
    const r = nvfp4(x, 1);
    expect([...r.packed.slice(0, 3)]).toEqual([0x21, 0x3f, 0x05]);
    expect([...r.scales]).toEqual([0x7e]);
    expect(r.global).toBe(Math.fround(6 / (6 * 448)));
  });
  it("NVFP4 is off by at most a sixth of a block's largest number, plus the rounding of its scale", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 40 }),
        fc.nat(),
        (rows, columns, seed) => {
          let s = seed;
          const x = Float32Array.from({ length: rows * columns }, () => {
            s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
            return (s / 2 ** 32 - 0.5) ** 3;
          });
          const r = nvfp4(x, rows);
          const blocks = Math.ceil(columns / 16);
          const values = miniToF32("f4e2m1", unpackBits(r.packed, 4, x.length));
          const scales = miniToF32("f8e4m3fn", r.scales);
          for (let i = 0; i < x.length; i++) {
            const [row, b] = [Math.floor(i / columns), Math.floor((i % columns) / 16)];
            const block = x.slice(
              row * columns + b * 16,
              Math.min((row + 1) * columns, row * columns + b * 16 + 16),
            );
            const top = Math.max(...block.map(Math.abs));
            const got = values[i]! * scales[row * blocks + b]! * r.global;
            // Steps of E2M1 are 1/6 to 1/3 of the largest number; E4M3 scales are within 1/16, subnormal ones of the tensor's.
            expect(Math.abs(got - x[i]!)).toBeLessThanOrEqual(
              top * (1 / 6 + 1 / 16) + r.global * 6 * 2 ** -10,
            );
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
