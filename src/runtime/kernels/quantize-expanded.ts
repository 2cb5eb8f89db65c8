import type { Tensor } from "../../ir/tensor.ts";
import { expandBlocks } from "../../numeric/quantize/expanded.ts";
import { asF32, encodeFloat, encodeSmallInt, f32Scratch } from "./elements.ts";
import { defineKernel } from "./kernel.ts";

type Params = { readonly inAxis: 0 | 1; readonly block: number };

/** A matrix with a factor per input in 4 bits, a scale of 4 bits per block of inputs and a unit per output. */
export const quantizeExpandedKernel = defineKernel<Params>({
  name: "quantize-expanded",
  version: 1,
  scratch: (_p, [t]) => 3 * f32Scratch(t!),
  evaluate({ inAxis, block }, inputs, [data, scale, unit]) {
    const [w, factor] = inputs.map(asF32) as [Float32Array, Float32Array];
    const [rows, columns] = data!.dims as [number, number];
    const [outputs, length] = inAxis === 0 ? [columns, rows] : [rows, columns];
    const blocks = length / block;
    const at = (n: number, k: number, of: number): number => (inAxis === 0 ? k * outputs + n : n * of + k);
    const [q, s, u] = [new Int8Array(w.length), new Uint8Array(outputs * blocks), new Float32Array(outputs)];
    const row = new Float32Array(length);
    for (let n = 0; n < outputs; n++) {
      for (let k = 0; k < length; k++) row[k] = w[at(n, k, length)]! * factor[k]!;
      const found = expandBlocks(row, block);
      u[n] = found.unit;
      for (let k = 0; k < length; k++) q[at(n, k, length)] = found.q[k]!;
      for (let b = 0; b < blocks; b++) s[at(n, b, blocks)] = found.scale[b]!;
    }
    return [
      { ...data!, bytes: encodeSmallInt("i4", q) },
      { ...scale!, bytes: s },
      { ...unit!, bytes: encodeFloat("f32", u) },
    ];
  },
});

/** A matrix on a grid that expands block by block; see {@link expandBlocks}. */
export interface ExpandedTensor {
  /** i4, in the shape of the matrix. */
  readonly data: Tensor;
  /** u8, with one entry per block along the summed axis. */
  readonly scale: Tensor;
  /** f32, one per output. */
  readonly unit: Tensor;
}

/** Quantizes a matrix with a factor per input (f32, as long as `inAxis`); `block` divides the number of inputs. */
export function quantizeExpanded(
  t: Tensor,
  o: { readonly inAxis: 0 | 1; readonly block: number; readonly factor: Tensor },
): ExpandedTensor {
  const { inAxis, block, factor } = o;
  if (t.dims.length !== 2 || t.dims[inAxis]! % block !== 0)
    throw new Error(`no blocks of ${block} along axis ${inAxis} of [${t.dims.join(", ")}]`);
  const [data, scale, unit] = quantizeExpandedKernel.derive(
    { inAxis, block },
    [t, factor],
    [
      { dtype: "i4", dims: t.dims },
      { dtype: "u8", dims: t.dims.map((d, i) => (i === inAxis ? d / block : d)) },
      { dtype: "f32", dims: [t.dims[1 - inAxis]!] },
    ],
  );
  return { data: data!, scale: scale!, unit: unit! };
}
