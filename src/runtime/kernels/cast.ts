import { DTYPES, type DType, elementCount, isFloat } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { packBits } from "../../numeric/bits.ts";
import { bytesOf, type Elements, elementsOf, encodeFloat, isNumeric } from "./elements.ts";
import { defineKernel, madeBy } from "./kernel.ts";

type Params = { readonly overflow: Overflow; readonly report: boolean };

/** What happens beyond the largest finite value: `ieee` gives infinity (or NaN), `saturate` the largest finite value. */
export type Overflow = "ieee" | "saturate";

const FLOAT16_MAX = 65504;
const BFLOAT16_MAX = 3.3895313892515355e38;

/** Largest finite value where saturation is not part of the conversion itself. */
const MAX: Partial<Record<DType, number>> = {
  f16: FLOAT16_MAX,
  bf16: BFLOAT16_MAX,
  f32: 3.4028234663852886e38,
};

function toF32(e: Elements): Float32Array {
  if (e instanceof Float32Array) return e;
  return e instanceof BigInt64Array || e instanceof BigUint64Array
    ? Float32Array.from(e, Number)
    : new Float32Array(e);
}

function clampTo(x: Float32Array, max: number): Float32Array {
  const out = new Float32Array(x.length);
  for (let i = 0; i < x.length; i++) {
    const v = x[i]!;
    out[i] = Math.max(-max, Math.min(max, v));
  }
  return out;
}

/** Integers: floats truncate towards zero and saturate (NaN gives 0), integers wrap as ONNX Cast says. */
function toInteger(dtype: DType, e: Elements): Uint8Array {
  const { bits, kind } = DTYPES[dtype];
  const signed = kind === "int";
  if (bits === 64) {
    const out = signed ? new BigInt64Array(e.length) : new BigUint64Array(e.length);
    const lo = signed ? -(2 ** 63) : 0;
    const hi = signed ? 2 ** 63 : 2 ** 64;
    const last = signed ? 2n ** 63n - 1n : 2n ** 64n - 1n;
    for (let i = 0; i < e.length; i++) {
      const v = e[i]!;
      if (typeof v === "bigint") out[i] = v;
      else out[i] = Number.isNaN(v) ? 0n : v >= hi ? last : BigInt(Math.trunc(Math.max(lo, v)));
    }
    return bytesOf(out);
  }
  const out =
    bits === 32
      ? signed
        ? new Int32Array(e.length)
        : new Uint32Array(e.length)
      : bits === 16
        ? signed
          ? new Int16Array(e.length)
          : new Uint16Array(e.length)
        : signed
          ? new Int8Array(e.length)
          : new Uint8Array(e.length);
  const fromFloat = e instanceof Float32Array || e instanceof Float64Array;
  const lo = signed ? -(2 ** (bits - 1)) : 0;
  const hi = (signed ? 2 ** (bits - 1) : 2 ** bits) - 1;
  if (e instanceof BigInt64Array || e instanceof BigUint64Array) {
    for (let i = 0; i < e.length; i++) out[i] = Number(BigInt.asIntN(32, e[i]!));
  } else if (fromFloat) {
    for (let i = 0; i < e.length; i++) {
      const v = e[i]!;
      out[i] = Math.max(lo, Math.min(hi, v));
    }
  } else out.set(e);
  return bits === 4 || bits === 2 ? packBits(out as Int8Array | Uint8Array, bits) : bytesOf(out);
}

function convert(e: Elements, to: DType, overflow: Overflow): Uint8Array {
  if (to === "bool") {
    const out = new Uint8Array(e.length);
    for (let i = 0; i < e.length; i++) out[i] = e[i] === 0 || e[i] === 0n ? 0 : 1;
    return out;
  }
  if (to === "f64") {
    const big = e instanceof BigInt64Array || e instanceof BigUint64Array;
    return bytesOf(big ? Float64Array.from(e, Number) : new Float64Array(e));
  }
  if (!isFloat(to)) return toInteger(to, e);
  const max = overflow === "saturate" ? MAX[to] : undefined;
  const x = toF32(e);
  return encodeFloat(to, max === undefined ? x : clampTo(x, max), overflow === "saturate");
}

/** Compares source and result: how many finite values overflowed, non-zero ones vanished, NaNs, largest magnitude. */
function report(source: Elements, result: Elements, dtype: DType): Float64Array {
  let overflowed = 0;
  let vanished = 0;
  let nans = 0;
  let max = 0;
  const limit = MAX[dtype] ?? Number.POSITIVE_INFINITY;
  for (let i = 0; i < source.length; i++) {
    const x = Number(source[i]);
    const y = Number(result[i]);
    const a = Math.abs(x);
    if (Number.isNaN(x)) nans++;
    else if (a > max) max = a;
    if (x !== 0 && y === 0) vanished++;
    if (a < Number.POSITIVE_INFINITY && (!Number.isFinite(y) || a > limit)) overflowed++;
  }
  return Float64Array.of(overflowed, vanished, nans, max);
}

/** Element type conversion with the rounding of ONNX Cast. */
export const castKernel = defineKernel<Params>({
  name: "cast",
  version: 1,
  scratch: (_p, inputs, outputs) =>
    4 * elementCount(inputs[0]!.dims) + (outputs.length > 1 ? 4 * elementCount(inputs[0]!.dims) : 0),
  evaluate(p, [x], outputs) {
    const { dtype, dims } = outputs[0]!;
    const source = elementsOf(x!);
    const data = { dtype, dims, bytes: x!.dtype === dtype ? x!.bytes : convert(source, dtype, p.overflow) };
    if (!p.report) return [data];
    return [data, { dtype: "f64", dims: [4], bytes: bytesOf(report(source, elementsOf(data), dtype)) }];
  },
});

function exactlyHolds(wide: DType, narrow: DType): boolean {
  if (wide === narrow) return true;
  if (wide === "f32") return isFloat(narrow) && DTYPES[narrow].bits <= 16;
  return wide === "f64" && (isFloat(narrow) || DTYPES[narrow].bits <= 32);
}

/**
 * The tensor in another element type. Floats round to nearest even; float to integer truncates and saturates;
 * integer to integer wraps. `overflow` (default `ieee`) says what float conversions do beyond the largest value.
 * Casting back what an exact widening made gives the original tensor.
 */
export function castTensor(t: Tensor, dtype: DType, options: { readonly overflow?: Overflow } = {}): Tensor {
  if (t.dtype === dtype) return t;
  if (!isNumeric(t.dtype) || !isNumeric(dtype)) throw new Error(`cannot cast ${t.dtype} to ${dtype}`);
  const before = madeBy(t, castKernel)?.inputs[0];
  const from = before !== undefined && exactlyHolds(t.dtype, before.dtype) ? { ...before, dims: t.dims } : t;
  if (from.dtype === dtype) return from;
  const params: Params = { overflow: options.overflow ?? "ieee", report: false };
  return castKernel.derive(params, [from], [{ dtype, dims: t.dims }])[0]!;
}

/**
 * Like {@link castTensor}, with a second output f64[4] from the same evaluation: how many finite values lie beyond the
 * largest one, how many non-zero values became zero, how many NaNs there are, and the largest magnitude of the source.
 */
export function castTensorWithReport(
  t: Tensor,
  dtype: DType,
  options: { readonly overflow?: Overflow } = {},
): { readonly data: Tensor; readonly report: Tensor } {
  const params: Params = { overflow: options.overflow ?? "ieee", report: true };
  const [data, report] = castKernel.derive(
    params,
    [t],
    [
      { dtype, dims: t.dims },
      { dtype: "f64", dims: [4] },
    ],
  );
  return { data: data!, report: report! };
}
