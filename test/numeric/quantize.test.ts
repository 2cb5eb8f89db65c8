import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { roundF16 } from "../../src/numeric/f16.ts";
import { packNBits, unpackNBits } from "../../src/numeric/nbits.ts";
import {
  dequantizeGroups,
  quantizeAxisBlocks,
  quantizeChannels,
} from "../../src/numeric/quantize/channel.ts";
import { firstNonFinite, type Grid, gridOf, roundScale } from "../../src/numeric/quantize/grid.ts";

const layout = fc.record({
  outer: fc.integer({ min: 1, max: 4 }),
  length: fc.integer({ min: 1, max: 40 }),
  inner: fc.integer({ min: 1, max: 40 }),
});
const grid = fc
  .record({
    bits: fc.constantFrom(2 as const, 4 as const, 8 as const),
    signed: fc.boolean(),
    symmetric: fc.boolean(),
    narrow: fc.boolean(),
  })
  .map((g) => ({ ...g, narrow: g.narrow && g.bits > 2 }));

function values(n: number, seed: number): Float32Array {
  const x = new Float32Array(n);
  let s = seed | 1;
  for (let i = 0; i < n; i++) {
    s = (Math.imul(s, 1103515245) + 12345) & 0x7fffffff;
    x[i] = Math.fround((s / 0x40000000 - 1) ** 3);
  }
  return x;
}

/** Range of a group by definition: covers the values and 0. */
function reference(x: readonly number[], g: Grid): { scale: number; zero: number } {
  const min = Math.min(0, ...x);
  const max = Math.max(0, ...x);
  if (min === max) return { scale: 1, zero: g.zero ?? Math.min(g.hi, Math.max(g.lo, g.lo)) };
  if (g.zero !== null) {
    return {
      scale: roundScale(Math.max(max / (g.hi - g.zero), -min / (g.zero - g.lo)), "f32"),
      zero: g.zero,
    };
  }
  const scale = roundScale((max - min) / (g.hi - g.lo), "f32");
  return { scale, zero: Math.round(Math.min(g.hi, Math.max(g.lo, roundEven(g.lo - min / scale)))) };
}

function roundEven(v: number): number {
  const r = Math.round(v);
  // Adding 0 turns -0, which no integer type has, into 0.
  return (Math.abs(v % 1) === 0.5 && r % 2 !== 0 ? r - 1 : r) + 0;
}

describe("per channel", () => {
  test("agrees with the definition on any layout and grid", () => {
    fc.assert(
      fc.property(layout, grid, fc.nat(), (l, g0, seed) => {
        const g = gridOf(g0);
        const x = values(l.outer * l.length * l.inner, seed);
        const r = quantizeChannels(x, l, { grid: g, search: null, scaleType: "f32" });
        for (let c = 0; c < l.length; c++) {
          const at: number[] = [];
          for (let o = 0; o < l.outer; o++)
            for (let i = 0; i < l.inner; i++) at.push((o * l.length + c) * l.inner + i);
          const want = reference(
            at.map((i) => x[i]!),
            g,
          );
          expect([r.scale[c], r.zero[c]]).toEqual([want.scale, want.zero]);
          for (const i of at) {
            const q = Math.min(g.hi, Math.max(g.lo, roundEven(x[i]! / want.scale) + want.zero));
            expect(r.q[i]).toBe(q);
          }
        }
      }),
      { numRuns: 100 },
    );
  });

  test("the error is at most half a step inside the range", () => {
    const x = values(5000, 3);
    const l = { outer: 1, length: 10, inner: 500 };
    for (const symmetric of [true, false]) {
      const r = quantizeChannels(x, l, {
        grid: gridOf({ bits: 8, signed: true, symmetric }),
        search: null,
        scaleType: "f32",
      });
      const y = dequantizeGroups(r.q, r.scale, r.zero, l, null);
      for (let i = 0; i < x.length; i++) {
        const step = r.scale[Math.floor(i / 500)]!;
        // The asymmetric zero point is rounded too, which moves the ends by up to half a step.
        expect(Math.abs(x[i]! - y[i]!)).toBeLessThanOrEqual(step * (symmetric ? 0.5001 : 1.0001));
      }
    }
  });

  test("zeros, empty groups and denormal ranges have positive scales and stay zero", () => {
    const x = Float32Array.of(0, 0, 1e-44, -1e-44, 3, 0);
    const options = { grid: gridOf({ bits: 8, signed: true, symmetric: true }), search: null } as const;
    for (const scaleType of ["f32", "f16", "bf16"] as const) {
      const r = quantizeChannels(x, { outer: 1, length: 3, inner: 2 }, { ...options, scaleType });
      expect(Math.min(...r.scale)).toBeGreaterThan(0);
      expect([...r.q.subarray(0, 4)]).toEqual([0, 0, 0, 0]);
      expect(r.q[5]).toBe(0);
    }
    const none = quantizeChannels(
      new Float32Array(0),
      { outer: 0, length: 3, inner: 2 },
      { ...options, scaleType: "f32" },
    );
    expect([...none.scale]).toEqual([1, 1, 1]);
  });

  test("weights are quantized with the scale as its type holds it", () => {
    const x = values(64, 9);
    const r = quantizeChannels(
      x,
      { outer: 1, length: 1, inner: 64 },
      {
        grid: gridOf({ bits: 8, signed: true, symmetric: true }),
        search: null,
        scaleType: "f16",
      },
    );
    expect(r.scale[0]).toBe(roundF16(r.scale[0]!));
    for (let i = 0; i < 64; i++) {
      expect(r.q[i]).toBe(Math.max(-128, Math.min(127, roundEven(x[i]! / r.scale[0]!))));
    }
  });
});

describe("range search", () => {
  /** Error of every candidate by definition; the search may not be worse than the best by more than its tables err. */
  function best(x: Float32Array, g: Grid, power: number): number {
    let least = Infinity;
    const min = Math.min(0, ...x);
    const max = Math.max(0, ...x);
    for (let i = 0; i < 80; i++) {
      const f = reference([min * (1 - i / 100), max * (1 - i / 100)], g);
      least = Math.min(least, errorOf(x, f, g, power));
    }
    return least;
  }
  function errorOf(x: Float32Array, f: { scale: number; zero: number }, g: Grid, power: number): number {
    let sum = 0;
    for (const v of x) {
      const q = Math.min(g.hi, Math.max(g.lo, roundEven(v / f.scale) + f.zero));
      sum += Math.abs(v - (q - f.zero) * f.scale) ** power;
    }
    return sum;
  }

  test.each([
    [2, 1],
    [2.4, 1.002],
  ] as const)("power %d finds the least error of all candidates", (power, slack) => {
    fc.assert(
      fc.property(grid, fc.integer({ min: 1, max: 300 }), fc.nat(), (g0, n, seed) => {
        const g = gridOf(g0);
        const x = values(n, seed);
        const r = quantizeChannels(
          x,
          { outer: 1, length: 1, inner: n },
          {
            grid: g,
            search: { power, steps: 80 },
            scaleType: "f32",
          },
        );
        const got = errorOf(x, { scale: r.scale[0]!, zero: r.zero[0]! }, g, power);
        expect(got).toBeLessThanOrEqual(best(x, g, power) * slack * (1 + 1e-9) + 1e-30);
      }),
      { numRuns: 60 },
    );
  });

  test.each([2, 2.4] as const)(
    "long rows: power %d through the histogram is within half a percent",
    (power) => {
      for (const bits of [2, 4] as const) {
        const g = gridOf({ bits, signed: true, symmetric: true });
        const x = values(20000, bits);
        const r = quantizeChannels(
          x,
          { outer: 1, length: 1, inner: x.length },
          {
            grid: g,
            search: { power, steps: 80 },
            scaleType: "f32",
          },
        );
        const got = errorOf(x, { scale: r.scale[0]!, zero: r.zero[0]! }, g, power);
        let least = Infinity;
        const top = Math.max(...x.map(Math.abs));
        for (let i = 0; i < 80; i++) {
          const f = reference([-top * (1 - i / 100), top * (1 - i / 100)], g);
          least = Math.min(least, errorOf(x, f, g, power));
        }
        expect(got).toBeLessThanOrEqual(least * 1.005);
      }
    },
  );
});

describe("blocks along an axis", () => {
  test("each block is quantized like a channel of its own", () => {
    fc.assert(
      fc.property(layout, grid, fc.integer({ min: 1, max: 20 }), fc.nat(), (l, g0, block, seed) => {
        const g = gridOf(g0);
        const x = values(l.outer * l.length * l.inner, seed);
        const r = quantizeAxisBlocks(x, l, block, { grid: g, search: null, scaleType: "f32" });
        const blocks = Math.ceil(l.length / block);
        for (let o = 0; o < l.outer; o++)
          for (let b = 0; b < blocks; b++)
            for (let i = 0; i < l.inner; i++) {
              const group: number[] = [];
              for (let k = b * block; k < Math.min(l.length, (b + 1) * block); k++)
                group.push(x[(o * l.length + k) * l.inner + i]!);
              const want = reference(group, g);
              const at = (o * blocks + b) * l.inner + i;
              expect([r.scale[at], r.zero[at]]).toEqual([want.scale, want.zero]);
            }
      }),
      { numRuns: 60 },
    );
  });
});

describe("MatMulNBits packing", () => {
  test("a vector worked out by hand: 4 bits, two blocks of 16, K = 18", () => {
    // Row 0 is -8..7 in its first block (scale 1) and 14, -16 in its second (scale 2): q = v/s + 8.
    const row = Float32Array.of(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 14, -16);
    const w = packNBits(
      row,
      { K: 18, N: 1, order: "NK", bits: 4, blockSize: 16 },
      { symmetric: true, search: null, scaleType: "f32" },
    );
    expect(Buffer.from(w.packed).toString("hex")).toBe("1032547698badcfe" + "0f88888888888888");
    expect([...w.scales]).toEqual([1, 2]);
    expect(w.zeroPoints).toBeNull();
  });

  test("a vector worked out by hand: zero points, three blocks a row, rows padded to bytes", () => {
    // Each block is 0..15 shifted down by its zero point.
    const zeros = [0, 3, 15, 8, 1, 2];
    const x = Float32Array.from({ length: 96 }, (_, i) => (i % 16) - zeros[Math.floor(i / 16)]!);
    const w = packNBits(
      x,
      { K: 48, N: 2, order: "NK", bits: 4, blockSize: 16 },
      { symmetric: false, search: null, scaleType: "f32" },
    );
    expect([...w.scales]).toEqual([1, 1, 1, 1, 1, 1]);
    expect(Buffer.from(w.zeroPoints!).toString("hex")).toBe("300f" + "1802");
    expect(Buffer.from(w.packed).toString("hex")).toBe("1032547698badcfe".repeat(6));
  });

  test("2 and 8 bits: first element in the lowest bits", () => {
    const two = packNBits(
      Float32Array.from({ length: 16 }, (_, i) => (i % 4) - 2),
      { K: 16, N: 1, order: "NK", bits: 2, blockSize: 16 },
      { symmetric: true, search: null, scaleType: "f32" },
    );
    expect(Buffer.from(two.packed).toString("hex")).toBe("e4e4e4e4");
    const eight = packNBits(
      Float32Array.from({ length: 16 }, (_, i) => (i === 0 ? -128 : i)),
      { K: 16, N: 1, order: "NK", bits: 8, blockSize: 16 },
      { symmetric: true, search: null, scaleType: "f32" },
    );
    expect([...eight.packed]).toEqual([0, ...Array.from({ length: 15 }, (_, i) => 129 + i)]);
  });

  test("both orders pack to the same bytes; unpacking stays within the grid's error", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 70 }),
        fc.integer({ min: 1, max: 40 }),
        fc.constantFrom(2 as const, 4 as const, 8 as const),
        fc.constantFrom(16, 32),
        fc.boolean(),
        fc.nat(),
        (K, N, bits, blockSize, symmetric, seed) => {
          const nk = values(N * K, seed);
          const kn = new Float32Array(N * K);
          for (let n = 0; n < N; n++) for (let k = 0; k < K; k++) kn[k * N + n] = nk[n * K + k]!;
          const options = { symmetric, search: null, scaleType: "f32" } as const;
          const a = packNBits(nk, { K, N, order: "NK", bits, blockSize }, options);
          const b = packNBits(kn, { K, N, order: "KN", bits, blockSize }, options);
          expect(b).toEqual(a);
          const back = unpackNBits(a, { K, N, order: "NK", bits, blockSize });
          const blocks = Math.ceil(K / blockSize);
          for (let n = 0; n < N; n++)
            for (let k = 0; k < K; k++) {
              const step = a.scales[n * blocks + Math.floor(k / blockSize)]!;
              expect(Math.abs(back[n * K + k]! - nk[n * K + k]!)).toBeLessThanOrEqual(step * 1.0001);
            }
        },
      ),
      { numRuns: 60 },
    );
  });
});

test("the first value that is not finite is found", () => {
  expect(firstNonFinite(Float32Array.of(1, 2, 3e38, 3e38))).toBe(-1);
  expect(firstNonFinite(Float32Array.of(1, Number.NaN, Infinity))).toBe(1);
  expect(firstNonFinite(Float32Array.of(1, 2, -Infinity))).toBe(2);
});
