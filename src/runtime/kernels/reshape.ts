import { elementCount } from "../../ir/dtype.ts";
import type { Tensor } from "../../ir/tensor.ts";

/** The same bytes with other axis lengths. Costs nothing: no kernel is needed, whatever the source. */
export function reshapeTensor(t: Tensor, dims: readonly number[]): Tensor {
  if (elementCount(dims) !== elementCount(t.dims)) {
    throw new Error(`cannot reshape [${t.dims}] to [${dims}]: the number of elements differs`);
  }
  return { dtype: t.dtype, dims, source: t.source };
}
