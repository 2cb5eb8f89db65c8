import { elementCount } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { type AcrossMoments, type AcrossReader, repairAcross } from "../../numeric/prune/across.ts";
import { asF32, bytesOf, elementsOf, encodeFloat } from "./elements.ts";
import { defineKernel, type KernelType } from "./kernel.ts";
import { biasOf, columnsOf, type RepairParams, readerOf, weightOf } from "./repair-columns.ts";

/** How both weights lie in memory and which inputs stay. */
export type AcrossParams = Omit<RepairParams, "mean" | "damp"> & {
  /** Share of the mean diagonal that is added. */
  readonly damp: number;
  readonly biased: boolean;
};

/** Elements of a weight in its own layout. */
export interface LaidWeight {
  readonly x: Float32Array;
  readonly dims: readonly number[];
}

/** A weight and the original's as a reader in two networks. */
export function acrossReaderOf(
  weight: LaidWeight,
  original: LaidWeight,
  p: Pick<AcrossParams, "outAxis" | "taps" | "perTap" | "biased">,
  moments: AcrossMoments,
): AcrossReader {
  const own = readerOf(weight.x, weight.dims, p, { gram: moments.own, mean: null });
  const theirs = readerOf(original.x, original.dims, p, { gram: moments.original, mean: null });
  return {
    rows: own.rows,
    weights: own.weights,
    size: own.size,
    original: theirs.weights,
    width: theirs.size,
    moments,
    biased: p.biased,
  };
}

/** Zeroes the weights of removed inputs and fits those of the others to the original's output behind other layers. */
export const repairAcrossKernel = defineKernel<AcrossParams>({
  name: "repair-across",
  version: 1,
  scratch: (_p, [w, original, own, , theirs]) =>
    8 * (5 * elementCount(w!.dims) + 2 * elementCount(original!.dims)) +
    32 * (elementCount(own!.dims) + elementCount(theirs!.dims)),
  evaluate(p, [w, original, ...moments], outputs) {
    const [own, cross, theirs, ownMean, originalMean] = moments.map((m) => elementsOf(m) as Float64Array);
    const reader = acrossReaderOf(
      { x: asF32(w!), dims: w!.dims },
      { x: asF32(original!), dims: original!.dims },
      p,
      {
        own: own!,
        cross: cross!,
        original: theirs!,
        ownMean: ownMean!,
        originalMean: originalMean!,
      },
    );
    const found = repairAcross(reader, columnsOf(p.keep, p), p.damp);
    const weight = encodeFloat(w!.dtype, weightOf(found.weights, w!.dims, p));
    const all = [weight, ...(p.biased ? [bytesOf(biasOf(found, w!.dims[p.outAxis]!))] : [])];
    return all.map((bytes, i) => ({ ...outputs[i]!, bytes }));
  },
});

/** The moments a repair needs, as f64 constants. */
export interface AcrossTensors {
  readonly own: Tensor;
  readonly cross: Tensor;
  readonly original: Tensor;
  readonly ownMean: Tensor;
  readonly originalMean: Tensor;
}

/**
 * A weight in its old shape with zeros for removed inputs, and what the original's bias gains (f32 [outputs]; `null`
 * where no bias can take it up).
 */
export function repairAcrossTensor(
  weight: { readonly own: Tensor; readonly original: Tensor },
  params: AcrossParams,
  m: AcrossTensors,
): { readonly weight: Tensor; readonly correction: Tensor | null } {
  const { dtype, dims } = weight.own;
  const outputs: KernelType[] = [{ dtype, dims }];
  if (params.biased) outputs.push({ dtype: "f32", dims: [dims[params.outAxis]!] });
  const inputs = [weight.own, weight.original, m.own, m.cross, m.original, m.ownMean, m.originalMean];
  const made = repairAcrossKernel.derive(params, inputs, outputs);
  return { weight: made[0]!, correction: made[1] ?? null };
}
