import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bf16ToF32, f32ToBf16 } from "../../src/numeric/bf16.ts";
import { packBits, unpackBits, unpackSignedBits } from "../../src/numeric/bits.ts";
import { f16Bits, f16ToF32, f16Value, f32ToF16, roundF16 } from "../../src/numeric/f16.ts";
import {
  encodeMini,
  f32ToMini,
  MINI_FORMATS,
  type MiniFloat,
  miniRounder,
  miniToF32,
  miniValue,
} from "../../src/numeric/minifloat.ts";

/** Any float32 by its bits: every exponent, subnormals, infinities and NaNs are equally likely. */
const anyFloat = fc.integer({ min: 0, max: 0xffffffff }).map((u) => {
  const f = new Float32Array(1);
  new Uint32Array(f.buffer)[0] = u;
  return f[0]!;
});

/** Nearest of an ascending list of non-negative values, ties to the even index. */
function nearest(values: readonly number[], a: number): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) {
    const d = Math.abs(values[i]! - a);
    const b = Math.abs(values[best]! - a);
    if (d < b || (d === b && i % 2 === 0)) best = i;
  }
  return best;
}

describe("float16", () => {
  test("every bit pattern survives the way to float32 and back", () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const wide = f16ToF32(all);
    const back = f32ToF16(wide);
    for (let i = 0; i < 65536; i++) {
      expect(Object.is(wide[i], f16Value(i)) || (Number.isNaN(wide[i]!) && Number.isNaN(f16Value(i)))).toBe(
        true,
      );
      if (Number.isNaN(wide[i]!)) expect(back[i]! & 0x7e00).toBe(0x7e00);
      else expect(back[i]).toBe(i);
    }
  });

  test("rounds to nearest even everywhere", () => {
    const finite = Array.from({ length: 0x7c00 }, (_, i) => f16Value(i));
    // 65536 takes part as the value infinity stands for.
    const values = [...finite, 65536];
    fc.assert(
      fc.property(fc.oneof(anyFloat, fc.float({ noNaN: true, min: -70000, max: 70000 })), (x) => {
        fc.pre(!Number.isNaN(x));
        const a = Math.abs(x);
        const want = a >= 65536 ? 0x7c00 : bisect(values, a);
        expect(f16Bits(x) & 0x7fff).toBe(want);
        expect(f16Bits(x) >>> 15).toBe(x < 0 || Object.is(x, -0) ? 1 : 0);
      }),
      { numRuns: 3000 },
    );
  });

  test("boundaries", () => {
    const cases: [number, number][] = [
      [65504, 0x7bff],
      [65519.996, 0x7bff],
      [65520, 0x7c00],
      [2 ** -24, 1],
      [2 ** -25, 0],
      [2 ** -25 * 1.0000001, 1],
      [3 * 2 ** -25, 2],
      [2 ** -14, 0x400],
      [2 ** -14 - 2 ** -25, 0x400],
      [-0, 0x8000],
      [Number.NaN, 0x7e00],
      [Number.NEGATIVE_INFINITY, 0xfc00],
      [1.00048828125, 0x3c00],
      [1.00146484375, 0x3c02],
      [1e-40, 0],
    ];
    for (const [x, bits] of cases) expect([x, f16Bits(x)]).toEqual([x, bits]);
    expect(roundF16(0.1)).toBe(0.0999755859375);
  });
});

/** {@link nearest} on a sorted list by bisection. */
function bisect(values: readonly number[], a: number): number {
  let lo = 0;
  let hi = values.length - 1;
  while (hi - lo > 1) {
    const mid = (lo + hi) >> 1;
    if (values[mid]! <= a) lo = mid;
    else hi = mid;
  }
  const d = a - values[lo]! - (values[hi]! - a);
  return d < 0 || (d === 0 && lo % 2 === 0) ? lo : hi;
}

describe("bfloat16", () => {
  test("every bit pattern survives; rounding is to nearest even", () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const wide = bf16ToF32(all);
    const back = f32ToBf16(wide);
    for (let i = 0; i < 65536; i++) if (!Number.isNaN(wide[i]!)) expect(back[i]).toBe(i);
    fc.assert(
      fc.property(anyFloat, (x) => {
        fc.pre(Number.isFinite(x));
        const bits = new Uint32Array(Float32Array.of(x).buffer)[0]!;
        const below = bf16ToF32(Uint16Array.of(bits >>> 16))[0]!;
        const got = f32ToBf16(Float32Array.of(x))[0]!;
        const rest = bits & 0xffff;
        const up = rest > 0x8000 || (rest === 0x8000 && ((bits >>> 16) & 1) === 1);
        expect(got).toBe((bits >>> 16) + (up ? 1 : 0));
        if (rest === 0) expect(below).toBe(x);
      }),
    );
    const nans = f32ToBf16(new Float32Array(Uint32Array.of(0x7f800001, 0xff800001).buffer));
    expect([...nans]).toEqual([0x7fc0, 0xffc0]);
  });
});

const FORMATS = Object.keys(MINI_FORMATS) as MiniFloat[];

describe.each(FORMATS)("%s", (format) => {
  const { bits, signed, rounding } = MINI_FORMATS[format];
  const codes = Uint8Array.from({ length: 1 << bits }, (_, i) => i);

  test("every code survives the way to float32 and back", () => {
    const wide = miniToF32(format, codes);
    const back = f32ToMini(format, wide, false);
    for (const c of codes) {
      expect(Object.is(wide[c], Math.fround(miniValue(format, c))) || Number.isNaN(wide[c]!)).toBe(true);
      if (Number.isNaN(wide[c]!)) expect(miniValue(format, back[c]!)).toBeNaN();
      else expect(back[c]).toBe(c);
    }
  });

  test("the table agrees with the definition for any float", () => {
    fc.assert(
      fc.property(anyFloat, fc.boolean(), (x, saturate) => {
        expect(f32ToMini(format, Float32Array.of(x), saturate)[0]).toBe(encodeMini(format, x, saturate));
      }),
      { numRuns: 2000 },
    );
  });

  test("rounds to the nearest value", () => {
    const finite = [...codes].filter(
      (c) => (!signed || c < 1 << (bits - 1)) && Number.isFinite(miniValue(format, c)),
    );
    const values = finite.map((c) => miniValue(format, c));
    const max = values.at(-1)!;
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), (u) => {
        // Logarithmic between far below the smallest value and the largest one.
        const x = Math.fround(values[1]! ** (1 - u) * max ** u * (u < 0.1 ? 0.3 : 1));
        fc.pre(x <= max);
        const got = values[f32ToMini(format, Float32Array.of(x))[0]!]!;
        if (rounding === "up") expect(got >= x && (got / 2 < x || got === values[0])).toBe(true);
        else expect(got).toBe(values[nearest(values, x)]);
      }),
    );
  });
});

test("special values of the 8-bit floats", () => {
  const one = (format: MiniFloat, x: number, saturate: boolean): number =>
    f32ToMini(format, Float32Array.of(x), saturate)[0]!;
  expect(one("f8e4m3fn", 1e9, true)).toBe(0x7e);
  expect(one("f8e4m3fn", 1e9, false)).toBe(0x7f);
  expect(one("f8e4m3fn", -Infinity, true)).toBe(0xfe);
  expect(one("f8e5m2", Infinity, false)).toBe(0x7c);
  expect(one("f8e5m2", Infinity, true)).toBe(0x7b);
  expect(one("f8e4m3fnuz", -0, true)).toBe(0);
  expect(one("f8e4m3fnuz", Number.NaN, true)).toBe(0x80);
  expect(one("f8e8m0", 3, true)).toBe(129);
  expect(one("f8e8m0", Number.NaN, true)).toBe(255);
  expect(one("f4e2m1", 100, false)).toBe(7);
});

describe("sub-byte packing", () => {
  test("vectors of the ONNX specification's layout", () => {
    expect(Buffer.from(packBits(Int8Array.of(1, 2, -8, 7, 5), 4)).toString("hex")).toBe("217805");
    expect(Buffer.from(packBits(Int8Array.of(1, -2, 0, -1, 1), 2)).toString("hex")).toBe("c901");
  });

  test("unpacking undoes packing", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 37 }), fc.constantFrom(2 as const, 4 as const), (raw, bits) => {
        const u = raw.map((v) => v & ((1 << bits) - 1));
        const s = Int8Array.from(u, (v) => (v >= 1 << (bits - 1) ? v - (1 << bits) : v));
        expect(unpackBits(packBits(u, bits), bits, u.length)).toEqual(u);
        expect(unpackSignedBits(packBits(s, bits), bits, s.length)).toEqual(s);
        expect(packBits(s, bits)).toEqual(packBits(u, bits));
      }),
    );
  });
});

test.each(["f8e4m3fn", "f8e5m2", "f4e2m1", "f8e8m0"] as const)(
  "%s: rounding a number is encoding and decoding it",
  (format) => {
    const round = miniRounder(format);
    fc.assert(
      fc.property(anyFloat, (x) => {
        const [there] = miniToF32(format, f32ToMini(format, Float32Array.of(x)));
        expect(round(x)).toBe(there);
      }),
    );
  },
);
