import { DTYPES } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { packBits, unpackBits } from "../../numeric/bits.ts";
import { defineKernel, madeBy, normalAxis, splitAxis } from "./kernel.ts";

type Params = { readonly axis: number; readonly start: number; readonly end: number };

/** A range of indices of one axis. */
export const sliceKernel = defineKernel<Params>({
  name: "slice",
  version: 1,
  scratch: (_p, [t]) => (DTYPES[t!.dtype].bits < 8 ? 2 * t!.dims.reduce((a, b) => a * b, 1) : 0),
  evaluate(p, [x], [out]) {
    const { dtype, dims } = out!;
    const { bits } = DTYPES[dtype];
    const width = bits === 2 || bits === 4 ? bits : null;
    const size = width === null ? bits / 8 : 1;
    const { outer, length, inner } = splitAxis(x!.dims, p.axis);
    const source = width === null ? x!.bytes : unpackBits(x!.bytes, width, outer * length * inner);
    const part = (p.end - p.start) * inner * size;
    const bytes = new Uint8Array(outer * part);
    for (let o = 0; o < outer; o++) {
      const from = (o * length + p.start) * inner * size;
      bytes.set(source.subarray(from, from + part), o * part);
    }
    return [{ dtype, dims, bytes: width === null ? bytes : packBits(bytes, width) }];
  },
});

/**
 * Indices `start` to `end` (excluded) of an axis; both count from the front and must lie in it. Where the range is
 * contiguous in a file or in memory, no kernel is needed.
 */
export function sliceTensor(
  t: Tensor,
  options: { readonly axis: number; readonly start: number; readonly end: number },
): Tensor {
  const axis = normalAxis(options.axis, t.dims.length);
  const { start, end } = options;
  const length = t.dims[axis]!;
  if (!(0 <= start && start <= end && end <= length)) throw new Error(`slice ${start}..${end} of ${length}`);
  if (start === 0 && end === length) return t;
  const dims = t.dims.map((d, i) => (i === axis ? end - start : d));
  const { outer, inner } = splitAxis(t.dims, axis);
  const { bits } = DTYPES[t.dtype];
  if (outer === 1 && bits >= 8) {
    const from = start * inner * (bits / 8);
    const size = (end - start) * inner * (bits / 8);
    const s = t.source;
    if (s.kind === "file")
      return { dtype: t.dtype, dims, source: { ...s, offset: s.offset + from, length: size } };
    if (s.kind === "inline") {
      return { dtype: t.dtype, dims, source: { kind: "inline", bytes: s.bytes.subarray(from, from + size) } };
    }
  }
  const before = madeBy(t, sliceKernel);
  if (before !== null && String(before.outputs[0]!.dims) === String(t.dims)) {
    const p = before.params as Params;
    if (p.axis === axis) {
      return sliceTensor(before.inputs[0]!, { axis, start: p.start + start, end: p.start + end });
    }
  }
  return sliceKernel.derive({ axis, start, end }, [t], [{ dtype: t.dtype, dims }])[0]!;
}
