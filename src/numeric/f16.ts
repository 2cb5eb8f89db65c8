/**
 * IEEE 754 binary16. Rounding is to nearest, ties to even; values from 65520 on become infinity and NaNs become the
 * quiet NaN 0x7e00 with the sign kept.
 *
 * Encoding works on the bits of the float32: one table lookup by sign and exponent gives the bits to add and how far
 * to shift the significand (van der Zijp, "Fast Half Float Conversions", 2008, with rounding added).
 */

const BASE = new Int32Array(512);
const SHIFT = new Int32Array(512);
for (let i = 0; i < 256; i++) {
  const e = i - 127;
  let base: number;
  let shift: number;
  if (e < -14) {
    base = 0;
    // A shift of 25 turns every 24-bit significand into 0, rounding included.
    shift = Math.min(25, -1 - e);
  } else if (e <= 15) {
    // The leading one of the significand adds the missing unit of the exponent.
    base = (e + 14) << 10;
    shift = 13;
  } else {
    base = 0x7c00;
    shift = 25;
  }
  BASE[i] = base;
  BASE[i + 256] = base | 0x8000;
  SHIFT[i] = shift;
  SHIFT[i + 256] = shift;
}

/** float32 to float16 bits. `dst` may be given to avoid an allocation; its length must match. */
export function f32ToF16(src: Float32Array, dst = new Uint16Array(src.length)): Uint16Array {
  const bits = new Uint32Array(src.buffer, src.byteOffset, src.length);
  for (let i = 0; i < bits.length; i++) {
    const u = bits[i]!;
    const se = u >>> 23;
    if ((u & 0x7fffffff) > 0x7f800000) {
      dst[i] = ((u >>> 16) & 0x8000) | 0x7e00;
      continue;
    }
    const shift = SHIFT[se]!;
    // Float32 subnormals have no leading one, but anything that small becomes 0 either way.
    const m = (u & 0x7fffff) | 0x800000;
    dst[i] = BASE[se]! + ((m + (1 << (shift - 1)) - 1 + ((m >>> shift) & 1)) >>> shift);
  }
  return dst;
}

let decode: Float32Array | null = null;

/** Value of one float16 bit pattern, from the definition. Slow: reference and table builder. */
export function f16Value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const e = (bits >>> 10) & 31;
  const m = bits & 0x3ff;
  if (e === 31) return m === 0 ? sign * Infinity : Number.NaN;
  return e === 0 ? sign * m * 2 ** -24 : sign * (1024 + m) * 2 ** (e - 25);
}

/** float16 bits to float32, exact. */
export function f16ToF32(src: Uint16Array, dst = new Float32Array(src.length)): Float32Array {
  if (decode === null) {
    decode = new Float32Array(65536);
    for (let i = 0; i < 65536; i++) decode[i] = f16Value(i);
  }
  const table = decode;
  for (let i = 0; i < src.length; i++) dst[i] = table[src[i]!]!;
  return dst;
}

const one = new Float32Array(1);

/** float16 bits of one number (rounded to float32 first). */
export function f16Bits(x: number): number {
  one[0] = x;
  return f32ToF16(one)[0]!;
}

/** Nearest float16 value of one number. */
export function roundF16(x: number): number {
  return f16Value(f16Bits(x));
}
