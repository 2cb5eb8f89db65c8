import { denseFrom, floats } from "../../../calibrate/dense.ts";
import { elementCount } from "../../../ir/dtype.ts";
import type { Dense } from "../../../ir/evaluator.ts";
import type { Tensor, TensorReader } from "../../../ir/tensor.ts";
import { castTensor } from "../../../runtime/kernels/cast.ts";
import { dequantizeBlocks, dequantizeTensor } from "../../../runtime/kernels/dequantize.ts";
import { elementsOf } from "../../../runtime/kernels/elements.ts";
import type { FitTensorOptions, FitTensors } from "../../../runtime/kernels/fit-weight.ts";
import type { Fitted } from "../../../targets/lower/weights.ts";
import type { Written } from "../write.ts";

/** How a fitted matrix is laid out. */
type Layout = Pick<FitTensorOptions, "order" | "packing" | "bits" | "block">;

/** The layout a fit was asked for; a derivation carries its parameters. */
function layoutOf({ data }: FitTensors): Layout {
  if (data.source.kind !== "derived") throw new Error("a fitted weight is not derived");
  return data.source.derivation.params as unknown as Layout;
}

/** The matrix that the integers of a fit stand for, before its branch. */
function dequantized(f: FitTensors, layout: Layout, dims: readonly [number, number]): Tensor {
  const { order, packing, bits, block } = layout;
  if (packing === "axis")
    return dequantizeTensor(
      { data: f.data, scale: f.scale, zeroPoint: f.zero },
      { axis: order === "KN" ? 0 : 1, blockSize: block, dtype: "f32" },
    );
  const [K, N] = order === "KN" ? dims : [dims[1], dims[0]];
  const packed = { packed: f.data, scales: castTensor(f.scale, "f32"), zeroPoints: f.zero, K, N };
  return dequantizeBlocks(packed, { bits, blockSize: block, order });
}

async function read(t: Tensor, reader: TensorReader): Promise<Dense> {
  return { dtype: t.dtype, dims: t.dims, bytes: await reader.read(t) };
}

/** Adds first · second, which has the matrix's shape, or its transpose where rows are packed in the order [out, in]. */
function addBranch(into: Float32Array, f: FitTensors, a: Dense, b: Dense): void {
  const [rows, rank] = a.dims as [number, number];
  const columns = b.dims[1]!;
  const [x, y] = [floats(a), floats(b)];
  const { order, packing } = layoutOf(f);
  const turned = packing === "nbits" && order === "NK";
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) {
      let sum = 0;
      for (let k = 0; k < rank; k++) sum += x[i * rank + k]! * y[k * columns + j]!;
      into[turned ? j * rows + i : i * columns + j]! += sum;
    }
}

/** What a stored weight amounts to. */
export interface StoredFloats {
  /** The floats that layers will multiply with, in the shape of the weight. */
  readonly weight: Dense;
  /** What the layer's bias gains, f32 [outputs]; `null` when nothing. */
  readonly correction: Dense | null;
}

/** Reads every part of a fit at once: parts that are read together come from one evaluation. */
async function fetched(f: FitTensors, reader: TensorReader): Promise<FitTensors> {
  const inline = async <T extends Tensor | null>(t: T): Promise<T> =>
    t === null ? t : ({ ...t, source: { kind: "inline", bytes: await reader.read(t) } } as T);
  const [data, scale, zero, correction, figures, first, second] = await Promise.all([
    inline(f.data),
    inline(f.scale),
    inline(f.zero),
    inline(f.correction),
    inline(f.figures),
    inline(f.branch?.first ?? null),
    inline(f.branch?.second ?? null),
  ]);
  const branch = first === null || second === null ? null : { first, second };
  return { data, scale, zero, correction, figures, branch };
}

/** Integers with their grid, not a palette. */
function isGrid(f: Fitted): f is FitTensors {
  return "data" in f;
}

/** An entry of the codebook times the scale of the output channel. */
async function paletteFloats(
  { stored, shape, fitted }: Written,
  reader: TensorReader,
): Promise<StoredFloats> {
  const { dims } = shape.tensor;
  const correction = fitted!.correction;
  const [indices, codebook, scale, added] = await Promise.all([
    read(stored[0]!, reader),
    read(stored[1]!, reader),
    read(stored[2]!, reader),
    correction === null ? null : read(correction, reader),
  ]);
  const [q, c, s] = [elementsOf(indices), floats(codebook), floats(scale)];
  const starts: { each: Int32Array; inner: number }[] = [];
  for (const t of stored.slice(3)) {
    const axis = t.dims.findIndex((d) => d > 1);
    const each = elementsOf(await read(t, reader)) as Int32Array;
    starts.push({ each, inner: elementCount(dims.slice(axis + 1)) });
  }
  const book = (i: number): number =>
    starts.reduce((n, { each, inner }) => n + each[Math.floor(i / inner) % each.length]!, 0);
  const inner = elementCount(dims.slice(shape.outAxis + 1));
  const outputs = dims[shape.outAxis]!;
  const values = Float32Array.from(
    { length: elementCount(dims) },
    (_, i) => c[book(i) + Number(q[i]!)]! * s[Math.floor(i / inner) % outputs]!,
  );
  return { weight: denseFrom("f32", dims, values), correction: added };
}

/** The floats behind a stored weight, from the same derivations that are written. */
export async function storedFloats(w: Written, reader: TensorReader): Promise<StoredFloats> {
  const { dims } = w.shape.tensor;
  if (w.fitted === null) {
    const plain = await read(w.restore(w.shape), reader);
    return { weight: denseFrom("f32", dims, floats(plain)), correction: null };
  }
  if (!isGrid(w.fitted)) return await paletteFloats(w, reader);
  const parts = await fetched(w.fitted, reader);
  const rows = layoutOf(w.fitted).packing === "axis" ? parts.data.dims : dims;
  const matrix = await read(dequantized(parts, layoutOf(w.fitted), [rows[0]!, rows[1]!]), reader);
  const values = Float32Array.from(floats(matrix));
  const { branch, correction } = parts;
  if (branch !== null)
    addBranch(values, w.fitted, await read(branch.first, reader), await read(branch.second, reader));
  return {
    weight: denseFrom("f32", dims, values),
    correction: correction === null ? null : await read(correction, reader),
  };
}
