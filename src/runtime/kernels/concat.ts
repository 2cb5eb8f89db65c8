import { DTYPES } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { packBits, unpackBits } from "../../numeric/bits.ts";
import { defineKernel, normalAxis, splitAxis } from "./kernel.ts";

type Params = { readonly axis: number };

/** Tensors one after the other along an axis. */
export const concatKernel = defineKernel<Params>({
  name: "concat",
  version: 1,
  scratch: (_p, _i, [out]) => (DTYPES[out!.dtype].bits < 8 ? 2 * out!.dims.reduce((a, b) => a * b, 1) : 0),
  evaluate(p, inputs, [out]) {
    const { dtype, dims } = out!;
    const { bits } = DTYPES[dtype];
    const width = bits === 2 || bits === 4 ? bits : null;
    const size = width === null ? bits / 8 : 1;
    const { outer, length, inner } = splitAxis(dims, p.axis);
    const bytes = new Uint8Array(outer * length * inner * size);
    let at = 0;
    for (const x of inputs) {
      const part = x.dims[p.axis]! * inner * size;
      const source = width === null ? x.bytes : unpackBits(x.bytes, width, outer * x.dims[p.axis]! * inner);
      for (let o = 0; o < outer; o++) {
        bytes.set(source.subarray(o * part, (o + 1) * part), o * length * inner * size + at);
      }
      at += part;
    }
    return [{ dtype, dims, bytes: width === null ? bytes : packBits(bytes, width) }];
  },
});

/** Concatenates tensors of one type along an axis; the other axes must agree. */
export function concatTensors(tensors: readonly Tensor[], axis: number): Tensor {
  const [first] = tensors;
  if (first === undefined) throw new Error("nothing to concatenate");
  const a = normalAxis(axis, first.dims.length);
  for (const t of tensors) {
    const fits =
      t.dtype === first.dtype &&
      t.dims.length === first.dims.length &&
      t.dims.every((d, i) => i === a || d === first.dims[i]);
    if (!fits) throw new Error(`cannot concatenate ${t.dtype}[${t.dims}] to ${first.dtype}[${first.dims}]`);
  }
  if (tensors.length === 1) return first;
  const total = tensors.reduce((sum, t) => sum + t.dims[a]!, 0);
  const dims = first.dims.map((d, i) => (i === a ? total : d));
  return concatKernel.derive({ axis: a }, tensors, [{ dtype: first.dtype, dims }])[0]!;
}
