import { DTYPES, type DType, elementCount } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import { asF32, bytesOf, elementsOf, encodeFloat } from "../runtime/kernels/elements.ts";

/** Dense array of a dtype from JS numbers; integers are truncated towards zero, as a cast does. */
export function denseFrom(dtype: DType, dims: readonly number[], values: ArrayLike<number>): Dense {
  const count = elementCount(dims);
  if (values.length !== count)
    throw new Error(`${dtype}[${dims}] holds ${count} values, got ${values.length}`);
  return { dtype, dims, bytes: encode(dtype, values) };
}

function encode(dtype: DType, values: ArrayLike<number>): Uint8Array {
  const { kind, bits } = DTYPES[dtype];
  if (kind === "bool") return Uint8Array.from(values, (v) => (v === 0 ? 0 : 1));
  if (dtype === "f64") return bytesOf(Float64Array.from(values));
  if (kind === "int" || kind === "uint") {
    const signed = kind === "int";
    switch (bits) {
      case 64: {
        const out = new BigInt64Array(values.length);
        for (let i = 0; i < out.length; i++) out[i] = BigInt(Math.trunc(values[i]!));
        return bytesOf(out);
      }
      case 32:
        return bytesOf(signed ? Int32Array.from(values) : Uint32Array.from(values));
      case 16:
        return bytesOf(signed ? Int16Array.from(values) : Uint16Array.from(values));
      case 8:
        return bytesOf(signed ? Int8Array.from(values) : Uint8Array.from(values));
    }
  }
  return encodeFloat(dtype, values instanceof Float32Array ? values : Float32Array.from(values));
}

/** The elements as float32; a view where the array is float32 already. */
export function floats(d: Dense): Float32Array {
  return asF32(d);
}

/** The elements as JS numbers. */
export function numbersOf(d: Dense): number[] {
  return Array.from(elementsOf(d) as ArrayLike<number | bigint>, Number);
}

/** The same numbers in another dtype; the array itself when it has it already. */
export function convert(d: Dense, dtype: DType): Dense {
  if (d.dtype === dtype) return d;
  const values = d.dtype === "f64" || DTYPES[d.dtype].kind === "int" ? numbersOf(d) : asF32(d);
  return denseFrom(dtype, d.dims, values);
}

/** Arrays stacked along their first axis; the other axes and the dtype must agree. */
export function stack(parts: readonly Dense[]): Dense {
  const first = parts[0];
  if (first === undefined) throw new Error("nothing to stack");
  if (parts.length === 1) return first;
  let rows = 0;
  let bytes = 0;
  for (const p of parts) {
    if (p.dtype !== first.dtype || p.dims.slice(1).join() !== first.dims.slice(1).join()) {
      throw new Error(`cannot stack ${p.dtype}[${p.dims}] on ${first.dtype}[${first.dims}]`);
    }
    rows += p.dims[0]!;
    bytes += p.bytes.length;
  }
  const out = new Uint8Array(bytes);
  let at = 0;
  for (const p of parts) {
    out.set(p.bytes, at);
    at += p.bytes.length;
  }
  return { dtype: first.dtype, dims: [rows, ...first.dims.slice(1)], bytes: out };
}

/** Rows `from` to `to` (exclusive) of the first axis; a view. The dtype must have whole bytes. */
export function rows(d: Dense, from: number, to: number): Dense {
  const size = d.bytes.length / d.dims[0]!;
  return {
    dtype: d.dtype,
    dims: [to - from, ...d.dims.slice(1)],
    bytes: d.bytes.subarray(from * size, to * size),
  };
}

/** Index of the first value that is not finite, or -1. */
export function firstNotFinite(values: ArrayLike<number>): number {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i]!)) return i;
  return -1;
}
