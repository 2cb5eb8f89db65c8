import type { GramRequest, Statistics } from "../calibrate/statistics/types.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { Tensor, TensorReader } from "../ir/tensor.ts";
import { transposed } from "../numeric/linalg/product.ts";
import type { LayerError } from "../numeric/quantize/error.ts";
import { type InputMoments, type Refit, refitError } from "../numeric/refit-error.ts";
import { asF32 } from "../runtime/kernels/elements.ts";
import type { PassContext } from "./pass.ts";

/** Moments of a layer's inputs over all buckets; `undefined` where it was not observed. */
export function momentsOf(statistics: Statistics, layer: string): InputMoments | undefined {
  const found = statistics.gram(layer);
  if (found === undefined) return undefined;
  const { size, sums, means, positions } = found;
  if (sums.length === 1) return { gram: sums[0]!, mean: means[0]!, size };
  const all = positions.reduce((a, b) => a + b, 0);
  const [gram, mean] = [new Float64Array(size * size), new Float64Array(size)];
  for (const [b, n] of positions.entries()) {
    for (const [i, v] of sums[b]!.entries()) gram[i]! += (v * n) / all;
    for (const [i, v] of means[b]!.entries()) mean[i]! += (v * n) / all;
  }
  return { gram, mean, size };
}

/** Held-out inputs of layers in the model as it is now; `null` where nothing is held out. */
export async function heldOutInputs(
  grams: readonly (GramRequest | null)[],
  ctx: Pick<PassContext, "heldOut">,
): Promise<Statistics | null> {
  const wanted = grams.filter((g) => g !== null);
  if (wanted.length === 0) return null;
  return (await ctx.heldOut?.collect({ values: [], grams: wanted })) ?? null;
}

/** Elements of a weight as outputs by inputs; `outAxis` is 0, or 1 of a matrix. */
export function outputRows({ dtype, dims, bytes }: Dense, outAxis: number): Float64Array {
  const w = Float64Array.from(asF32({ dtype, dims, bytes }));
  const rows = dims[outAxis]!;
  return outAxis === 0 ? w : transposed(w, w.length / rows, rows);
}

/** A layer with a weight that stands for the one it had. */
export interface RefitLayer {
  /** Node name under which statistics are found. */
  readonly name: string;
  readonly outAxis: number;
  readonly before: Tensor;
  readonly after: Dense | Tensor;
  /** f32 [outputs]: what the bias gains; `null` where it stays. */
  readonly shift: Tensor | null;
}

async function read(t: Dense | Tensor, reader: TensorReader): Promise<Dense> {
  return "bytes" in t ? t : { dtype: t.dtype, dims: t.dims, bytes: await reader.read(t) };
}

/**
 * Error of a refitted layer's output on inputs it was not fitted to, from their Gram matrix; `null` without one of a
 * size that fits.
 */
export async function heldOutError(
  layer: RefitLayer,
  held: Statistics | null,
  reader: TensorReader,
): Promise<LayerError | null> {
  const moments = held === null ? undefined : momentsOf(held, layer.name);
  if (moments === undefined) return null;
  const { outAxis } = layer;
  const before = outputRows(await read(layer.before, reader), outAxis);
  const rows = layer.before.dims[outAxis]!;
  const refit: Refit = {
    before,
    after: outputRows(await read(layer.after, reader), outAxis),
    rows,
    columns: before.length / rows,
    shift: layer.shift === null ? null : Float64Array.from(asF32(await read(layer.shift, reader))),
  };
  return refitError(refit, moments);
}

/** `heldOut` of a decision's error: SQNR in dB of summed errors; nothing where one is missing. */
export function heldOutField(errors: readonly (LayerError | null)[]): { readonly heldOut?: number } {
  if (errors.length === 0 || errors.some((e) => e === null)) return {};
  const sum = (of: (e: LayerError) => number): number => errors.reduce((n, e) => n + of(e!), 0);
  const [noise, signal] = [sum((e) => e.noise), sum((e) => e.signal)];
  if (!(noise > 0 && signal > 0)) return {};
  return { heldOut: Math.round(1e4 * 10 * Math.log10(signal / noise)) / 1e4 };
}
