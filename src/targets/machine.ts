import type { DType } from "../ir/dtype.ts";

/**
 * Rates of a machine that estimates for a target are made with. A target stands for many machines: `name` says which one
 * this is, and ratios carry over to others better than seconds do.
 */
export interface Machine {
  readonly name: string;
  /**
   * `measured`: fitted to kernel times on such a machine; `published`: peaks its makers state; `mixed`: published peaks of
   * products, everything else as measured on another machine of the kind.
   */
  readonly basis: "measured" | "published" | "mixed";
  /**
   * Operations a second of products by the type of their operands, 8-bit integers under `i8` whatever their sign; a
   * multiply-add is 2. A type that is absent runs at the rate of the next wider float that is there; where there is none,
   * its arithmetic is not counted.
   */
  readonly flops: Partial<Readonly<Record<DType, number>>>;
  /** Operations a second of other arithmetic; what is absent runs at the rate of products. */
  readonly other?: {
    /** Products of two activations; absent: like other products of their type. */
    readonly attention?: number;
    /** Normalisations and reductions; absent: like products in fp32. */
    readonly statistics?: number;
    /** Everything else that computes; absent: like products in fp32. */
    readonly pointwise?: number;
    /** Elementwise functions that are sums of many terms, such as Erf and Sin; absent: like everything else. */
    readonly functions?: number;
  };
  /** Bytes a second. */
  readonly bandwidth: number;
  /** Bytes a second of constants, which no node before has left in a cache; absent: like everything else. */
  readonly weightBandwidth?: number;
  /**
   * Seconds to start a node that computes or moves something, one that only renames what is in memory, attention as one
   * operator, which may start several kernels (absent: like other nodes), and each row of a layer normalisation (absent:
   * none).
   */
  readonly overhead: {
    readonly node: number;
    readonly view: number;
    readonly attention?: number;
    readonly row?: number;
  };
  /**
   * Seconds per element that an activation costs on its way into or out of 8 bits, layout changes included; absent: what
   * its bytes take.
   */
  readonly convert8?: number;
}
