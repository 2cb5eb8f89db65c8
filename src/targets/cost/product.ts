import type { Target } from "../target.ts";
import { CPU_RATES } from "./cpu.ts";

/** Work of one linear layer or convolution. */
export interface ProductWork {
  /** Operations; a multiply-add is 2. */
  readonly flops: number;
  /** Bytes read and written, the weight's included. */
  readonly bytes: number;
}

/**
 * Estimated seconds of some products, one node each, on one core; `null` for targets without a cost model, where
 * operations are all there is to compare.
 */
export function productSeconds(target: Target | null, work: readonly ProductWork[]): number | null {
  if (target?.kind !== "cpu") return null;
  const { overhead, product, bandwidth } = CPU_RATES;
  return work.reduce((s, w) => s + overhead + Math.max(w.flops / product, w.bytes / bandwidth), 0);
}
