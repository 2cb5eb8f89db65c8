import type { Machine } from "../machine.ts";
import { convertSeconds, productRate } from "./node.ts";

/** Work of a layer that could run in 8 bits. */
export interface IntegerWork {
  /** Operations of its product; a multiply-add is 2. */
  readonly flops: number;
  /** Activation elements that are quantized for it (shared among the layers that read the same activation). */
  readonly quantized: number;
  /** Result elements that are turned back to float by a pass of their own. */
  readonly dequantized: number;
}

/**
 * Estimated seconds that operators on 8-bit integers save on a processor, less than zero where conversions cost more than
 * the product saves: small 1×1 convolutions.
 */
export function integerGain(machine: Machine, work: IntegerWork): number {
  const [float, integer] = [productRate(machine, "f32"), productRate(machine, "i8")];
  const product = float === null || integer === null ? 0 : work.flops * (1 / float - 1 / integer);
  return product - convertSeconds(machine, work.quantized + work.dequantized);
}
