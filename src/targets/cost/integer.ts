import { CPU_RATES, type CpuRates } from "./cpu.ts";

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
 * Estimated seconds that 8-bit arithmetic saves on one core, less than zero where conversions cost more than the
 * product saves: small 1×1 convolutions.
 */
export function integerGain(work: IntegerWork, rates: CpuRates = CPU_RATES): number {
  const product = work.flops * (1 / rates.product - 1 / rates.product8);
  return product - (work.quantized + work.dequantized) * rates.convert8;
}
