import type { Statistics } from "../../calibrate/statistics/types.ts";
import type { Tensor, TensorReader } from "../../ir/tensor.ts";
import { narrowValues } from "../../numeric/factorize/heads.ts";
import { type NarrowedSide, scoreError } from "../../numeric/factorize/score-error.ts";
import { transposed } from "../../numeric/linalg/product.ts";
import type { LayerError } from "../../numeric/quantize/error.ts";
import { refitError } from "../../numeric/refit-error.ts";
import { asF32, elementsOf } from "../../runtime/kernels/elements.ts";
import type { HeadTensors, NarrowedTensors, OutputTensors } from "../../runtime/kernels/narrow-heads.ts";
import { momentsOf, outputRows } from "../held-out.ts";
import type { HeadLayer } from "./attention.ts";

/** Heads, their width, and what it becomes. */
interface Sizes {
  readonly heads: number;
  readonly width: number;
  readonly rank: number;
}

/** Where figures on held-out inputs come from. */
export interface HeldFrom {
  readonly held: Statistics;
  readonly reader: TensorReader;
}

async function projection(
  t: { readonly weight: Tensor; readonly bias: Tensor | null },
  order: HeadLayer["order"],
  reader: TensorReader,
): Promise<NarrowedSide["before"]> {
  const read = async (x: Tensor) => ({ dtype: x.dtype, dims: x.dims, bytes: await reader.read(x) });
  return {
    weights: outputRows(await read(t.weight), order === "KN" ? 1 : 0),
    bias: t.bias === null ? null : Float64Array.from(asF32(await read(t.bias))),
  };
}

/** A query or key projection with what it became. */
export interface ScoreSide {
  readonly layer: HeadLayer;
  readonly before: HeadTensors;
  readonly after: NarrowedTensors;
}

/** Error of scores before the softmax on held-out queries and keys; `null` where one was not observed. */
export async function heldScores(
  q: ScoreSide,
  k: ScoreSide,
  sizes: Sizes,
  { held, reader }: HeldFrom,
): Promise<LayerError | null> {
  const side = async ({ layer, before, after }: ScoreSide): Promise<NarrowedSide | null> => {
    const moments = momentsOf(held, layer.layer.node.name);
    const [a, b] = [
      await projection(before, layer.order, reader),
      await projection(after, layer.order, reader),
    ];
    if (moments === undefined || a.weights.length !== sizes.heads * sizes.width * moments.size) return null;
    return { before: a, after: b, moments };
  };
  const [a, b] = [await side(q), await side(k)];
  return a === null || b === null ? null : scoreError(a, b, sizes);
}

/** Error of an output projection behind narrower values on held-out inputs; `null` where they were not observed. */
export async function heldValues(
  v: HeadTensors,
  out: { readonly layer: HeadLayer; readonly tensors: OutputTensors },
  sizes: Sizes,
  { held, reader }: HeldFrom,
): Promise<LayerError | null> {
  const moments = momentsOf(held, out.layer.layer.node.name);
  const columns = sizes.heads * sizes.width;
  if (moments?.size !== columns) return null;
  const { weight, order, gram } = out.tensors;
  const read = async (x: Tensor) => ({ dtype: x.dtype, dims: x.dims, bytes: await reader.read(x) });
  const before = outputRows(await read(weight), order === "KN" ? 1 : 0);
  const rows = before.length / columns;
  const known = gram === null ? null : (elementsOf(await read(gram)) as Float64Array);
  const projected = { ...(await projection(v, v.order, reader)), inputs: null };
  const found = narrowValues(projected, { weights: transposed(before, rows, columns), gram: known }, sizes);
  const after = transposed(found.stands, columns, rows);
  return refitError({ before, after, rows, columns, shift: null }, moments);
}
