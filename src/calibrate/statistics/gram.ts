import { numericalRank } from "../../numeric/linalg/rank.ts";
import { accumulate, type GramProduct, symmetrise } from "./product.ts";
import type { GramStatistics } from "./types.ts";

/** Relative pivot below which a direction of a Gram counts as absent. */
const RANK_TOLERANCE = 1e-6;

/** Sums weighted rows into float64 matrices, a buffer of rows at a time. */
export interface GramSum {
  /** Rows `[rows × size]` of one run. */
  addRows(rows: Float32Array, bucket: number, weight: number): Promise<void>;
  /** Σ x xᵀ and mean x of `positions` rows, summed elsewhere. */
  addGram(
    part: { gram: Float32Array; mean: Float32Array; positions: number },
    bucket: number,
    weight: number,
  ): void;
  finish(): Promise<Pick<GramStatistics, "size" | "sums" | "means" | "positions">>;
}

/** Rows buffered for a Gram of this size: enough for the product to be worth more than writing its result. */
export function bufferRows(size: number): number {
  return Math.min(2048, Math.max(256, size));
}

/** An empty sum of `size × size` in `buckets` parts. */
export function createGramSum(size: number, buckets: number, product: GramProduct): GramSum {
  const parts = Array.from({ length: buckets }, () => ({
    sum: new Float64Array(size * size),
    mean: new Float64Array(size),
    positions: 0,
    buffer: null as Float32Array | null,
    filled: 0,
  }));
  const capacity = bufferRows(size);

  async function flush(part: (typeof parts)[number]): Promise<void> {
    if (part.filled === 0) return;
    const view = part.buffer!.subarray(0, part.filled * size);
    accumulate(part.sum, await product(part.filled, view, view), 1);
    part.filled = 0;
  }
  return {
    async addRows(rows, bucket, weight) {
      const part = parts[bucket]!;
      const { mean } = part;
      part.buffer ??= new Float32Array(capacity * size);
      // Rows scaled by √weight sum to the weighted Gram.
      const root = Math.sqrt(weight);
      for (let from = 0; from < rows.length; from += size) {
        if (part.filled === capacity) await flush(part);
        const to = part.filled++ * size;
        for (let k = 0; k < size; k++) {
          const x = rows[from + k]!;
          mean[k]! += weight * x;
          part.buffer[to + k] = root * x;
        }
      }
      part.positions += rows.length / size;
    },
    addGram({ gram, mean, positions }, bucket, weight) {
      const part = parts[bucket]!;
      accumulate(part.sum, gram, weight);
      for (let k = 0; k < size; k++) part.mean[k]! += weight * positions * mean[k]!;
      part.positions += positions;
    },
    async finish() {
      for (const part of parts) {
        await flush(part);
        const scale = part.positions === 0 ? 0 : 1 / part.positions;
        symmetrise(part.sum, size, scale);
        for (let k = 0; k < size; k++) part.mean[k]! *= scale;
      }
      return {
        size,
        sums: parts.map((p) => p.sum),
        means: parts.map((p) => p.mean),
        positions: parts.map((p) => p.positions),
      };
    },
  };
}

/** Ranks found so far; layers may share one Gram. */
const ranks = new WeakMap<readonly Float64Array[], number>();

/** Statistics around finished sums; the rank, unless it is known, is found when first asked for. */
export function gramStatistics(
  parts: Omit<GramStatistics, "rank">,
  known: number | null = null,
): GramStatistics {
  return {
    ...parts,
    get rank() {
      const rank =
        known ?? ranks.get(parts.sums) ?? numericalRank(total(parts.sums), parts.size, RANK_TOLERANCE);
      ranks.set(parts.sums, rank);
      return rank;
    },
  };
}

function total(sums: readonly Float64Array[]): Float64Array {
  const out = Float64Array.from(sums[0]!);
  for (const s of sums.slice(1)) for (let i = 0; i < out.length; i++) out[i]! += s[i]!;
  return out;
}
