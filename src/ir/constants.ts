import { elementCount } from "./dtype.ts";
import type { Tensor } from "./tensor.ts";

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** IEEE half to number. */
function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const READ: Partial<Record<Tensor["dtype"], (v: DataView, i: number) => number>> = {
  f32: (v, i) => v.getFloat32(i * 4, true),
  f64: (v, i) => v.getFloat64(i * 8, true),
  f16: (v, i) => half(v.getUint16(i * 2, true)),
  i64: (v, i) => Number(v.getBigInt64(i * 8, true)),
  u64: (v, i) => Number(v.getBigUint64(i * 8, true)),
  i32: (v, i) => v.getInt32(i * 4, true),
  u32: (v, i) => v.getUint32(i * 4, true),
  i16: (v, i) => v.getInt16(i * 2, true),
  u16: (v, i) => v.getUint16(i * 2, true),
  i8: (v, i) => v.getInt8(i),
  u8: (v, i) => v.getUint8(i),
  bool: (v, i) => v.getUint8(i),
};

/** Elements of a constant at hand as numbers; `null` for constants in files, derived ones and types without a number. */
export function numbersOf(tensor: Tensor | null, limit = 4096): number[] | null {
  if (tensor === null || tensor.source.kind !== "inline") return null;
  const read = READ[tensor.dtype];
  const n = elementCount(tensor.dims);
  if (read === undefined || n > limit) return null;
  const v = view(tensor.source.bytes);
  return Array.from({ length: n }, (_, i) => read(v, i));
}

/** The one value of a constant that is a scalar or holds a single element; `null` otherwise. */
export function scalarOf(tensor: Tensor | null): number | null {
  if (tensor === null || elementCount(tensor.dims) !== 1) return null;
  return numbersOf(tensor)?.[0] ?? null;
}

/** The number that every element of a constant equals; `null` when they differ or are not at hand. */
export function uniformOf(tensor: Tensor | null): number | null {
  const all = numbersOf(tensor);
  const first = all?.[0];
  if (all === null || first === undefined) return null;
  return all.every((x) => Object.is(x, first)) ? first : null;
}
