import { DTYPES, type DType, elementCount } from "../../ir/dtype.ts";
import type { Dense } from "../../ir/evaluator.ts";
import { bf16ToF32, f32ToBf16 } from "../../numeric/bf16.ts";
import { packBits, unpackBits, unpackSignedBits } from "../../numeric/bits.ts";
import { f16ToF32, f32ToF16 } from "../../numeric/f16.ts";
import { f32ToMini, type MiniFloat, miniToF32 } from "../../numeric/minifloat.ts";

/** Elements as JavaScript can compute with them: narrow floats widened to float32, sub-byte integers one per byte. */
export type Elements =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

/** The bytes at an address a typed array of `size`-byte elements may start at; copies only when needed. */
export function aligned(bytes: Uint8Array, size: number): Uint8Array {
  return bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
}

function over<T>(
  type: {
    new (buffer: ArrayBufferLike, offset: number, length: number): T;
    readonly BYTES_PER_ELEMENT: number;
  },
  bytes: Uint8Array,
): T {
  const b = aligned(bytes, type.BYTES_PER_ELEMENT);
  return new type(b.buffer, b.byteOffset, b.length / type.BYTES_PER_ELEMENT);
}

/** One row per dtype: from bytes to elements, and from float32 or integer elements to bytes. */
interface Codec {
  decode(bytes: Uint8Array, count: number): Elements;
}

const mini = (name: MiniFloat): Codec => ({
  decode: (b, n) => miniToF32(name, DTYPES[name].bits === 4 ? unpackBits(b, 4, n) : b),
});

const CODECS: Partial<Record<DType, Codec>> = {
  f32: { decode: (b) => over(Float32Array, b) },
  f64: { decode: (b) => over(Float64Array, b) },
  f16: { decode: (b) => f16ToF32(over(Uint16Array, b)) },
  bf16: { decode: (b) => bf16ToF32(over(Uint16Array, b)) },
  i8: { decode: (b) => over(Int8Array, b) },
  u8: { decode: (b) => b },
  bool: { decode: (b) => b },
  i16: { decode: (b) => over(Int16Array, b) },
  u16: { decode: (b) => over(Uint16Array, b) },
  i32: { decode: (b) => over(Int32Array, b) },
  u32: { decode: (b) => over(Uint32Array, b) },
  i64: { decode: (b) => over(BigInt64Array, b) },
  u64: { decode: (b) => over(BigUint64Array, b) },
  i4: { decode: (b, n) => unpackSignedBits(b, 4, n) },
  u4: { decode: (b, n) => unpackBits(b, 4, n) },
  i2: { decode: (b, n) => unpackSignedBits(b, 2, n) },
  u2: { decode: (b, n) => unpackBits(b, 2, n) },
  f8e4m3fn: mini("f8e4m3fn"),
  f8e4m3fnuz: mini("f8e4m3fnuz"),
  f8e5m2: mini("f8e5m2"),
  f8e5m2fnuz: mini("f8e5m2fnuz"),
  f8e8m0: mini("f8e8m0"),
  f4e2m1: mini("f4e2m1"),
};

/** True for dtypes kernels can compute with (not strings, not complex numbers). */
export function isNumeric(dtype: DType): boolean {
  return CODECS[dtype] !== undefined;
}

/** Elements of a dense array; a view of its bytes where the layout allows. */
export function elementsOf(d: Dense): Elements {
  const codec = CODECS[d.dtype];
  if (codec === undefined) throw new Error(`no element view of ${d.dtype}`);
  return codec.decode(d.bytes, elementCount(d.dims));
}

/** The elements as float32, rounded where the type is wider; a view of the bytes when it is float32 already. */
export function asF32(d: Dense): Float32Array {
  const e = elementsOf(d);
  if (e instanceof Float32Array) return e;
  if (e instanceof BigInt64Array || e instanceof BigUint64Array) return Float32Array.from(e, Number);
  return new Float32Array(e);
}

/** True when {@link asF32} has to allocate. */
export function f32Scratch(t: { readonly dtype: DType; readonly dims: readonly number[] }): number {
  return t.dtype === "f32" ? 0 : 4 * elementCount(t.dims);
}

/** The bytes under a typed array, not copied. */
export function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** float32 to any float dtype of at most 32 bits. `saturate` only matters for formats of 8 bits and less. */
export function encodeFloat(dtype: DType, x: Float32Array, saturate = true): Uint8Array {
  switch (dtype) {
    case "f32":
      return bytesOf(x);
    case "f16":
      return bytesOf(f32ToF16(x));
    case "bf16":
      return bytesOf(f32ToBf16(x));
    case "f8e4m3fn":
    case "f8e4m3fnuz":
    case "f8e5m2":
    case "f8e5m2fnuz":
    case "f8e8m0":
      return f32ToMini(dtype, x, saturate);
    case "f4e2m1":
      return packBits(f32ToMini(dtype, x, saturate), 4);
    default:
      throw new Error(`${dtype} is not a float of at most 32 bits`);
  }
}

/** Integers, one per element, to any integer dtype of at most 8 bits; values must be in range. */
export function encodeSmallInt(dtype: DType, q: Int8Array | Uint8Array): Uint8Array {
  const { bits, kind } = DTYPES[dtype];
  if (kind !== "int" && kind !== "uint") throw new Error(`${dtype} is not an integer type`);
  if (bits === 8) return bytesOf(q);
  if (bits === 4 || bits === 2) return packBits(q, bits);
  throw new Error(`${dtype} has more than 8 bits`);
}
