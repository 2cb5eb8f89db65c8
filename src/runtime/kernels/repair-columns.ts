import { elementCount } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { transposed } from "../../numeric/linalg/product.ts";
import { cutColumns, type Reader, type Repaired, repairColumns } from "../../numeric/prune/repair.ts";
import { asF32, bytesOf, elementsOf, encodeFloat } from "./elements.ts";
import { defineKernel, type KernelType } from "./kernel.ts";

/** How a weight lies in memory and which of its inputs stay. */
export type RepairParams = {
  /** Axis of outputs: 0, or 1 of a matrix. */
  readonly outAxis: number;
  /** Elements of one input channel: the taps of a kernel. */
  readonly taps: number;
  /** The Gram matrix is that of channels, and every tap is repaired by itself. */
  readonly perTap: boolean;
  /** Kept input channels, ascending. */
  readonly keep: readonly number[];
  /** Share of the mean diagonal that is added; `null` leaves the kept weights alone and only moves the bias. */
  readonly damp: number | null;
  readonly mean: boolean;
};

/** A weight as a reader of its Gram matrix's inputs: outputs by inputs, or outputs and taps by channels. */
export function readerOf(
  x: Float32Array,
  dims: readonly number[],
  p: Pick<RepairParams, "outAxis" | "taps" | "perTap">,
  moments: { readonly gram: Float64Array; readonly mean: Float64Array | null },
): Reader {
  const outputs = dims[p.outAxis]!;
  const inputs = x.length / outputs;
  const w = Float64Array.from(x);
  const plain = p.outAxis === 0 ? w : transposed(w, inputs, outputs);
  if (!p.perTap) return { weights: plain, rows: outputs, size: inputs, ...moments };
  const channels = inputs / p.taps;
  const turned = new Float64Array(w.length);
  for (let o = 0; o < outputs; o++)
    for (let c = 0; c < channels; c++)
      for (let t = 0; t < p.taps; t++)
        turned[(o * p.taps + t) * channels + c] = plain[(o * channels + c) * p.taps + t]!;
  return { weights: turned, rows: outputs * p.taps, size: channels, ...moments };
}

/** The inverse of {@link readerOf}'s arrangement. */
export function weightOf(
  weights: Float64Array,
  dims: readonly number[],
  p: Pick<RepairParams, "outAxis" | "taps" | "perTap">,
): Float32Array {
  const outputs = dims[p.outAxis]!;
  const inputs = weights.length / outputs;
  let plain = weights;
  if (p.perTap) {
    const channels = inputs / p.taps;
    plain = new Float64Array(weights.length);
    for (let o = 0; o < outputs; o++)
      for (let c = 0; c < channels; c++)
        for (let t = 0; t < p.taps; t++)
          plain[(o * channels + c) * p.taps + t] = weights[(o * p.taps + t) * channels + c]!;
  }
  return Float32Array.from(p.outAxis === 0 ? plain : transposed(plain, outputs, inputs));
}

/** Columns of a reader that belong to input channels. */
export function columnsOf(channels: ArrayLike<number>, p: Pick<RepairParams, "taps" | "perTap">): Int32Array {
  if (p.perTap || p.taps === 1) return Int32Array.from(channels);
  return Int32Array.from(
    { length: channels.length * p.taps },
    (_, i) => channels[Math.floor(i / p.taps)]! * p.taps + (i % p.taps),
  );
}

/** What the bias gains per output: corrections of taps add up. */
export function biasOf(found: Repaired, outputs: number): Float32Array {
  const c = found.correction!;
  const taps = c.length / outputs;
  return Float32Array.from({ length: outputs }, (_, o) => {
    let sum = 0;
    for (let t = 0; t < taps; t++) sum += c[o * taps + t]!;
    return sum;
  });
}

/** Zeroes the weights of removed inputs and fits those of the others to the layer's output. */
export const repairColumnsKernel = defineKernel<RepairParams>({
  name: "repair-columns",
  version: 1,
  scratch: (_p, [w, gram]) => 8 * (5 * elementCount(w!.dims) + 4 * elementCount(gram!.dims)),
  evaluate(p, [w, gram, mean], outputs) {
    const moments = {
      gram: elementsOf(gram!) as Float64Array,
      mean: p.mean ? (elementsOf(mean!) as Float64Array) : null,
    };
    const reader = readerOf(asF32(w!), w!.dims, p, moments);
    const keep = columnsOf(p.keep, p);
    const found = p.damp === null ? cutColumns(reader, keep) : repairColumns(reader, keep, p.damp);
    const weight = encodeFloat(w!.dtype, weightOf(found.weights, w!.dims, p));
    const all = [weight, ...(p.mean ? [bytesOf(biasOf(found, w!.dims[p.outAxis]!))] : [])];
    return all.map((bytes, i) => ({ ...outputs[i]!, bytes }));
  },
});

/** A weight in its old shape with zeros for removed inputs, and what its bias gains (f32 [outputs]; `null` without mean). */
export function repairTensor(
  weight: Tensor,
  params: Omit<RepairParams, "mean">,
  moments: { readonly gram: Tensor; readonly mean: Tensor | null },
): { readonly weight: Tensor; readonly correction: Tensor | null } {
  const { gram, mean } = moments;
  const outputs: KernelType[] = [{ dtype: weight.dtype, dims: weight.dims }];
  if (mean !== null) outputs.push({ dtype: "f32", dims: [weight.dims[params.outAxis]!] });
  const inputs = [weight, gram, ...(mean === null ? [] : [mean])];
  const made = repairColumnsKernel.derive({ ...params, mean: mean !== null }, inputs, outputs);
  return { weight: made[0]!, correction: mean === null ? null : made[1]! };
}
