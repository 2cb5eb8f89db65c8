import type { DType } from "../ir/dtype.ts";

/**
 * Rates of a machine that estimates for a target are made with. A target stands for many machines: `name` says which one
 * this is, and ratios carry over to others better than seconds do.
 */
export interface Machine {
  readonly name: string;
  /** `measured`: fitted to kernel times on such a machine; `published`: peaks its makers state, so a lower bound. */
  readonly basis: "measured" | "published";
  /**
   * Operations a second of products by the type of their operands, 8-bit integers under `i8` whatever their sign; a
   * multiply-add is 2. A type that is absent runs at the rate of the next wider one that is there; where there is none,
   * its arithmetic is not counted.
   */
  readonly flops: Partial<Readonly<Record<DType, number>>>;
  /** Operations a second of other arithmetic; without it, those of products in fp32 where these are known. */
  readonly other?: {
    readonly attention: number;
    readonly statistics: number;
    readonly pointwise: number;
  };
  /** Bytes a second. */
  readonly bandwidth: number;
  /** Seconds to start a node that computes or moves something, and one that only renames what is in memory. */
  readonly overhead: { readonly node: number; readonly view: number };
}
