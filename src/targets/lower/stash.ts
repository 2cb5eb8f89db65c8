import { DTYPES, isFloat } from "../../ir/dtype.ts";
import type { ValueId } from "../../ir/graph.ts";
import type { Emit } from "./emit.ts";

/** Data in the type a kernel computes in, and the way back to their own. */
export interface Stash {
  readonly x: ValueId;
  readonly back: (y: ValueId) => ValueId;
  readonly wide: "f32" | "f64";
}

/** `x` in fp32 where the data (input 0) are narrower and the kernel computes in fp32 inside. */
export function stash(e: Emit, x: ValueId): Stash {
  const dtype = e.dtype(0);
  if (dtype === null || !isFloat(dtype) || DTYPES[dtype].bits >= 32)
    return { x, back: (y) => y, wide: dtype === "f64" ? "f64" : "f32" };
  return { x: e.cast(x, DTYPES.f32.onnx), back: (y) => e.cast(y, DTYPES[dtype].onnx), wide: "f32" };
}
