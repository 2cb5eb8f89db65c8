import { type DType, elementCount } from "../../../ir/dtype.ts";
import { i64Tensor, inlineTensor, type Tensor } from "../../../ir/tensor.ts";
import type { Dim } from "../../../ir/types.ts";

/** Propagated data as a constant, for the integer types shapes are computed in; `null` when an element is symbolic. */
export function integersToTensor(data: readonly Dim[], dtype: DType, dims: readonly number[]): Tensor | null {
  if (data.length !== elementCount(dims)) return null;
  const numbers = data.filter((d): d is number => typeof d === "number" && Number.isSafeInteger(d));
  if (numbers.length !== data.length) return null;
  switch (dtype) {
    case "i64":
      return i64Tensor(numbers, dims);
    case "i32": {
      const values = Int32Array.from(numbers);
      if (numbers.some((n, i) => values[i] !== n)) return null;
      return inlineTensor("i32", dims, new Uint8Array(values.buffer));
    }
    case "bool":
      return inlineTensor("bool", dims, Uint8Array.from(numbers.map((n) => (n === 0 ? 0 : 1))));
    default:
      return null;
  }
}
