import { elementCount } from "../../src/ir/dtype.ts";
import type { Dense } from "../../src/ir/evaluator.ts";

function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Elements of a result as numbers, read independently of the code under test. */
export function toNumbers(d: Dense): number[] {
  const view = new DataView(d.bytes.buffer, d.bytes.byteOffset, d.bytes.byteLength);
  const read: Partial<Record<Dense["dtype"], (i: number) => number>> = {
    f32: (i) => view.getFloat32(i * 4, true),
    f64: (i) => view.getFloat64(i * 8, true),
    f16: (i) => half(view.getUint16(i * 2, true)),
    i64: (i) => Number(view.getBigInt64(i * 8, true)),
    i32: (i) => view.getInt32(i * 4, true),
    i8: (i) => view.getInt8(i),
    u8: (i) => view.getUint8(i),
    bool: (i) => view.getUint8(i),
  };
  const at = read[d.dtype];
  if (at === undefined) throw new Error(`no reader for ${d.dtype}`);
  return Array.from({ length: elementCount(d.dims) }, (_, i) => at(i));
}
