import { fail } from "../../diagnostics/index.ts";
import { type DType, elementCount, isFloat } from "../../ir/dtype.ts";
import type { Dense } from "../../ir/evaluator.ts";
import type { Tensor } from "../../ir/tensor.ts";
import {
  firstNonFinite,
  gridOf,
  type QuantizeOptions,
  type RangeSearch,
  type ScaleType,
} from "../../numeric/quantize/grid.ts";
import { asF32, f32Scratch } from "./elements.ts";
import { describeType, type KernelType } from "./kernel.ts";

/** How the range of each group of weights is found: full range, or the shrunken range with the least error. */
export type Search = "none" | "mse" | "l2.4";

/** What every weight quantizer is told. */
export interface GridOptions {
  readonly bits: 2 | 4 | 8;
  /** One zero point for all, in the middle; default true. */
  readonly symmetric?: boolean;
  /** Two's complement integers (default) or unsigned ones. */
  readonly signed?: boolean;
  /** Leaves out the lowest value (-128, -8), so that the range is even; default false. */
  readonly narrow?: boolean;
  /** Default `none`. */
  readonly search?: Search;
  /** Type of the scales; weights are quantized with the rounded scale. Default `f32`. */
  readonly scaleType?: ScaleType;
}

export type GridParams = {
  readonly bits: 2 | 4 | 8;
  readonly symmetric: boolean;
  readonly signed: boolean;
  readonly narrow: boolean;
  readonly search: Search;
  readonly scaleType: ScaleType;
};

/** Number of ranges tried by a search, each 1 % smaller than the one before (methods of BRECQ and its descendants). */
const SEARCH_STEPS = 80;

/** Options with their defaults filled in, so that equal requests are equal derivations. */
export function gridParams(o: GridOptions): GridParams {
  return {
    bits: o.bits,
    symmetric: o.symmetric ?? true,
    signed: o.signed ?? true,
    narrow: o.narrow ?? false,
    search: o.search ?? "none",
    scaleType: o.scaleType ?? "f32",
  };
}

/** The range search behind a name. */
export function rangeSearch(search: Search): RangeSearch | null {
  if (search === "none") return null;
  return { power: search === "mse" ? 2 : 2.4, steps: SEARCH_STEPS };
}

/** Parameters as the numeric quantizers take them. */
export function quantizeOptions(p: GridParams): QuantizeOptions {
  return { grid: gridOf(p), search: rangeSearch(p.search), scaleType: p.scaleType };
}

/** The integer type of a grid. */
export function gridType(p: { readonly bits: 2 | 4 | 8; readonly signed: boolean }): DType {
  return p.signed ? (`i${p.bits}` as const) : (`u${p.bits}` as const);
}

/** Weights as float32. Fails with WEIGHT_NOT_FINITE. */
export function finiteWeights(kernel: string, d: Dense): Float32Array {
  const x = asF32(d);
  const bad = firstNonFinite(x);
  if (bad >= 0) {
    fail("WEIGHT_NOT_FINITE", { kernel, tensor: describeType(d), index: bad, value: String(x[bad]) });
  }
  return x;
}

/** A tensor that can be quantized; anything else is a bug of the caller. */
export function requireFloat(t: Tensor): void {
  if (!isFloat(t.dtype)) throw new Error(`cannot quantize ${describeType(t)}`);
}

/** Scratch of the quantizers: float32 copy, unpacked integers, and a panel of rows. */
export function quantizeScratch(input: KernelType, rowLength: number): number {
  return f32Scratch(input) + elementCount(input.dims) + 16 * 5 * rowLength;
}
