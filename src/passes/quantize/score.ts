import type { Tensor, TensorReader } from "../../ir/tensor.ts";
import { asF32 } from "../../runtime/kernels/elements.ts";

/** Infinite ratios are reported as this: beyond it float32 itself is the limit. */
const CEILING_DB = 150;

/** 10·log10(Σw² / Σ(ŵ-w)²) of a weight and what its stored form stands for, rounded to 0.01 dB. */
export async function weightSqnr(tensor: Tensor, restored: Tensor, reader: TensorReader): Promise<number> {
  const a = asF32({ dtype: tensor.dtype, dims: tensor.dims, bytes: await reader.read(tensor) });
  const b = asF32({ dtype: restored.dtype, dims: restored.dims, bytes: await reader.read(restored) });
  let signal = 0;
  let noise = 0;
  for (let i = 0; i < a.length; i++) {
    const d = b[i]! - a[i]!;
    signal += a[i]! * a[i]!;
    noise += d * d;
  }
  if (noise === 0 || signal === 0) return noise === 0 ? CEILING_DB : 0;
  return Math.round(Math.min(CEILING_DB, 10 * Math.log10(signal / noise)) * 100) / 100;
}
