import { DTYPES } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { defineKernel, normalAxis, splitAxis } from "./kernel.ts";
import { sliceTensor } from "./slice.ts";

type Params = {
  readonly axis: number;
  /** Kept stretches, start and end (excluded), ascending. */
  readonly ranges: readonly (readonly [number, number])[];
};

/** Some indices of one axis, in their order. */
export const selectKernel = defineKernel<Params>({
  name: "select",
  version: 1,
  evaluate(p, [x], [out]) {
    const { dtype, dims } = out!;
    const size = DTYPES[dtype].bits / 8;
    const { outer, length, inner } = splitAxis(x!.dims, p.axis);
    const bytes = new Uint8Array(outer * dims[p.axis]! * inner * size);
    let to = 0;
    for (let o = 0; o < outer; o++)
      for (const [start, end] of p.ranges) {
        const from = (o * length + start) * inner * size;
        const count = (end - start) * inner * size;
        bytes.set(x!.bytes.subarray(from, from + count), to);
        to += count;
      }
    return [{ dtype, dims, bytes }];
  },
});

/** Ascending indices as stretches. */
function rangesOf(keep: Int32Array): [number, number][] {
  const out: [number, number][] = [];
  for (const i of keep) {
    const last = out.at(-1);
    if (last !== undefined && last[1] === i) last[1] = i + 1;
    else out.push([i, i + 1]);
  }
  return out;
}

/** The kept indices of one axis, ascending; elements of less than a byte are not supported. */
export function selectTensor(
  t: Tensor,
  options: { readonly axis: number; readonly keep: Int32Array },
): Tensor {
  const axis = normalAxis(options.axis, t.dims.length);
  const { keep } = options;
  if (keep.some((k, i) => k < 0 || k >= t.dims[axis]! || (i > 0 && k <= keep[i - 1]!)))
    throw new Error(`indices of an axis of ${t.dims[axis]} must ascend`);
  if (keep.length === t.dims[axis]) return t;
  if (DTYPES[t.dtype].bits < 8) throw new Error(`cannot select elements of ${t.dtype}`);
  const ranges = rangesOf(keep);
  const [only] = ranges;
  if (only !== undefined && ranges.length === 1)
    return sliceTensor(t, { axis, start: only[0], end: only[1] });
  const dims = t.dims.map((d, i) => (i === axis ? keep.length : d));
  return selectKernel.derive({ axis, ranges }, [t], [{ dtype: t.dtype, dims }])[0]!;
}
