import { denseFrom, floats } from "../../../calibrate/dense.ts";
import type { Dense } from "../../../ir/evaluator.ts";
import type { Tensor, TensorReader } from "../../../ir/tensor.ts";
import { dequantizeBlocks, dequantizeTensor } from "../../../runtime/kernels/dequantize.ts";
import type { FitTensorOptions, FitTensors } from "../../../runtime/kernels/fit-weight.ts";
import type { Written } from "../write.ts";

/** How a fitted matrix is laid out. */
type Layout = Pick<FitTensorOptions, "order" | "packing" | "bits" | "block">;

/** The layout a fit was asked for; a derivation carries its parameters. */
function layoutOf({ data }: FitTensors): Layout {
  if (data.source.kind !== "derived") throw new Error("a fitted weight is not derived");
  return data.source.derivation.params as unknown as Layout;
}

/** The matrix that the integers of a fit stand for, before its branch. */
function dequantized(f: FitTensors, dims: readonly [number, number]): Tensor {
  const { order, packing, bits, block } = layoutOf(f);
  if (packing === "axis")
    return dequantizeTensor(
      { data: f.data, scale: f.scale, zeroPoint: f.zero },
      { axis: order === "KN" ? 0 : 1, blockSize: block, dtype: "f32" },
    );
  const [K, N] = order === "KN" ? dims : [dims[1], dims[0]];
  const packed = { packed: f.data, scales: f.scale, zeroPoints: f.zero, K, N };
  return dequantizeBlocks(packed, { bits, blockSize: block, order });
}

async function read(t: Tensor, reader: TensorReader): Promise<Dense> {
  return { dtype: t.dtype, dims: t.dims, bytes: await reader.read(t) };
}

/** Adds first · second, whose product has the matrix's shape, or its transpose for packed ones in the order [out, in]. */
async function addBranch(into: Float32Array, f: FitTensors, reader: TensorReader): Promise<void> {
  if (f.branch === null) return;
  const [a, b] = [await read(f.branch.first, reader), await read(f.branch.second, reader)];
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

/** The floats that layers will multiply with once a weight is stored like this, in the shape of the weight. */
export async function storedFloats(w: Written, reader: TensorReader): Promise<Dense> {
  const { dims } = w.shape.tensor;
  const { fitted } = w;
  if (fitted === null) {
    const plain = await read(w.restore(w.shape), reader);
    return denseFrom("f32", dims, floats(plain));
  }
  const rows = layoutOf(fitted).packing === "axis" ? fitted.data.dims : dims;
  const matrix = await read(dequantized(fitted, [rows[0]!, rows[1]!]), reader);
  const values = Float32Array.from(floats(matrix));
  await addBranch(values, fitted, reader);
  return denseFrom("f32", dims, values);
}
