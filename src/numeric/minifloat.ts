/**
 * Floats of 4 and 8 bits: the FP8 formats of the ONNX specification ("Float stored in 8 bits", Cast-24), the OCP
 * microscaling scale E8M0 and the OCP element format E2M1.
 */

/** Layout and special values of one format. */
export interface MiniFormat {
  readonly bits: 4 | 8;
  readonly exponent: number;
  readonly mantissa: number;
  readonly bias: number;
  readonly signed: boolean;
  /** `ieee`: top exponent is infinity and NaN; `top`: only all ones is NaN; `negative-zero`: 0x80 is NaN; `none`. */
  readonly nan: "ieee" | "top" | "negative-zero" | "none";
  /** `even`: nearest, ties to even. `up`: towards larger magnitude (Cast-24's default for E8M0). */
  readonly rounding: "even" | "up";
}

/** Formats by ONNX name in lower case, prefixed as the dtype table has them. */
export const MINI_FORMATS = {
  f8e4m3fn: { bits: 8, exponent: 4, mantissa: 3, bias: 7, signed: true, nan: "top", rounding: "even" },
  f8e4m3fnuz: {
    bits: 8,
    exponent: 4,
    mantissa: 3,
    bias: 8,
    signed: true,
    nan: "negative-zero",
    rounding: "even",
  },
  f8e5m2: { bits: 8, exponent: 5, mantissa: 2, bias: 15, signed: true, nan: "ieee", rounding: "even" },
  f8e5m2fnuz: {
    bits: 8,
    exponent: 5,
    mantissa: 2,
    bias: 16,
    signed: true,
    nan: "negative-zero",
    rounding: "even",
  },
  f8e8m0: { bits: 8, exponent: 8, mantissa: 0, bias: 127, signed: false, nan: "top", rounding: "up" },
  f4e2m1: { bits: 4, exponent: 2, mantissa: 1, bias: 1, signed: true, nan: "none", rounding: "even" },
} as const satisfies Record<string, MiniFormat>;

export type MiniFloat = keyof typeof MINI_FORMATS;

/** Value of one code, from the definition. */
export function miniValue(format: MiniFloat, code: number): number {
  const f: MiniFormat = MINI_FORMATS[format];
  const magnitudeBits = f.exponent + f.mantissa;
  const magnitude = code & ((1 << magnitudeBits) - 1);
  const negative = f.signed && code >>> magnitudeBits !== 0;
  const e = magnitude >>> f.mantissa;
  const m = magnitude & ((1 << f.mantissa) - 1);
  const top = (1 << f.exponent) - 1;
  if (f.nan === "negative-zero" && negative && magnitude === 0) return Number.NaN;
  if (f.nan === "top" && magnitude === (1 << magnitudeBits) - 1) return Number.NaN;
  if (f.nan === "ieee" && e === top) return m !== 0 ? Number.NaN : negative ? -Infinity : Infinity;
  // E8M0 has neither zero nor subnormals.
  const value =
    f.mantissa === 0
      ? 2 ** (e - f.bias)
      : e === 0
        ? m * 2 ** (1 - f.bias - f.mantissa)
        : ((1 << f.mantissa) + m) * 2 ** (e - f.bias - f.mantissa);
  return negative ? -value : value;
}

/** Non-negative finite values by code, ascending. */
function magnitudes(format: MiniFloat): number[] {
  const f: MiniFormat = MINI_FORMATS[format];
  const out: number[] = [];
  for (let c = 0; c < 1 << (f.exponent + f.mantissa); c++) {
    const v = miniValue(format, c);
    if (Number.isFinite(v)) out.push(v);
  }
  return out;
}

/**
 * Code of the value nearest to `x`, from the definition (binary search). With `saturate` everything beyond the largest
 * finite value becomes that value; without, it becomes infinity or NaN where the format has one. NaN has no code in
 * E2M1 and becomes its largest value. E8M0 takes zero and negative numbers to its smallest value.
 */
export function encodeMini(
  format: MiniFloat,
  x: number,
  saturate: boolean,
  values = magnitudes(format),
): number {
  const f: MiniFormat = MINI_FORMATS[format];
  const signBit = f.signed ? 1 << (f.exponent + f.mantissa) : 0;
  const negative = x < 0 || Object.is(x, -0);
  const sign = negative ? signBit : 0;
  const max = values.length - 1;
  const nanCode = {
    ieee: signBit - 1,
    top: f.signed ? signBit - 1 : 255,
    "negative-zero": signBit,
    none: max,
  }[f.nan];
  if (Number.isNaN(x)) return nanCode;
  if (!f.signed && x <= 0) return 0;
  const a = Math.abs(x);
  let lo = 0;
  let hi = max;
  while (lo < hi) {
    const mid = (lo + hi + 1) >> 1;
    if (values[mid]! <= a) lo = mid;
    else hi = mid - 1;
  }
  const below = values[lo]!;
  // The step above the largest finite value is as wide as the one below it, or one binade for E8M0.
  const above = lo < max ? values[lo + 1]! : f.mantissa === 0 ? below * 2 : below + (below - values[lo - 1]!);
  let code = lo;
  if (a > below) {
    const middle = below + (above - below) / 2;
    if (f.rounding === "up" ? a > below : a > middle || (a === middle && (lo & 1) === 1)) code = lo + 1;
  }
  if (code > max || a === Infinity) {
    if (saturate || f.nan === "none") return max | sign;
    return f.nan === "ieee" ? (max + 1) | sign : f.nan === "top" ? nanCode | sign : nanCode;
  }
  if (code === 0 && f.nan === "negative-zero") return 0;
  return code | sign;
}

const encoders = new Map<string, Uint8Array>();
const decoders = new Map<MiniFloat, Float32Array>();

/**
 * Every boundary between two codes has at most four significant bits, so the upper half of a float32 and whether the
 * lower half is zero decide the result: 2^17 entries, made with {@link encodeMini} on first use.
 */
function encoder(format: MiniFloat, saturate: boolean): Uint8Array {
  const key = `${format}/${saturate}`;
  let table = encoders.get(key);
  if (table === undefined) {
    table = new Uint8Array(1 << 17);
    const u = new Uint32Array(1);
    const f = new Float32Array(u.buffer);
    const values = magnitudes(format);
    for (let i = 0; i < table.length; i++) {
      u[0] = ((i & 0xffff) << 16) | (i >>> 16);
      table[i] = encodeMini(format, f[0]!, saturate, values);
    }
    encoders.set(key, table);
  }
  return table;
}

/** float32 to codes, one per byte (4-bit codes are not packed: see `bits.ts`). `saturate` as in {@link encodeMini}. */
export function f32ToMini(format: MiniFloat, src: Float32Array, saturate = true): Uint8Array {
  const table = encoder(format, saturate);
  const bits = new Uint32Array(src.buffer, src.byteOffset, src.length);
  const out = new Uint8Array(src.length);
  for (let i = 0; i < bits.length; i++) {
    const u = bits[i]!;
    out[i] = table[(u >>> 16) | ((u & 0xffff) !== 0 ? 0x10000 : 0)]!;
  }
  return out;
}

/** A function that takes a number to the nearest value of a format, the largest one beyond it. */
export function miniRounder(format: MiniFloat): (x: number) => number {
  const table = encoder(format, true);
  const values = Float32Array.from({ length: 1 << MINI_FORMATS[format].bits }, (_, c) =>
    miniValue(format, c),
  );
  const f = new Float32Array(1);
  const u = new Uint32Array(f.buffer);
  return (x) => {
    f[0] = x;
    return values[table[(u[0]! >>> 16) | ((u[0]! & 0xffff) !== 0 ? 0x10000 : 0)]!]!;
  };
}

/** Codes, one per byte, to float32; exact. */
export function miniToF32(format: MiniFloat, src: Uint8Array): Float32Array {
  let table = decoders.get(format);
  if (table === undefined) {
    table = new Float32Array(256);
    for (let c = 0; c < 256; c++) table[c] = miniValue(format, c & ((1 << MINI_FORMATS[format].bits) - 1));
    decoders.set(format, table);
  }
  const out = new Float32Array(src.length);
  for (let i = 0; i < src.length; i++) out[i] = table[src[i]!]!;
  return out;
}
