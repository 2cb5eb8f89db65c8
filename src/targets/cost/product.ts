import type { Target } from "../target.ts";
import { nodeEstimate } from "./node.ts";

/** Work of one linear layer or convolution. */
export interface ProductWork {
  /** Operations; a multiply-add is 2. */
  readonly flops: number;
  /** Bytes read and written, and those among them that are the weight's. */
  readonly bytes: number;
  readonly weights: number;
}

/**
 * Estimated seconds of some products in fp32, one node each, on the target's machine; `null` without a target, where
 * operations are all there is to compare.
 */
export function productSeconds(target: Target | null, work: readonly ProductWork[]): number | null {
  const machine = target?.machine;
  if (machine === undefined) return null;
  return work.reduce((s, w) => s + nodeEstimate(machine, { ...w, kind: "product", dtype: "f32" }).seconds, 0);
}
