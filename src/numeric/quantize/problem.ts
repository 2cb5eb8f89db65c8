import type { Grid, QuantizeOptions } from "./grid.ts";

/** A weight matrix to be stored as integers with a scale and zero point per block of summed elements. */
export interface BlockProblem {
  /** Row-major `rows` × `columns`: a row per output channel, a column per summed input. Finite. */
  readonly weights: Float64Array;
  readonly rows: number;
  readonly columns: number;
  /** Columns that share a scale; `columns` for one scale per row. The last block may be shorter. */
  readonly block: number;
  /** Gram matrix Σ x·xᵀ of the layer's input, row-major `columns` × `columns`; `null` counts all inputs alike. */
  readonly gram: Float64Array | null;
  readonly options: QuantizeOptions;
}

/** Integers with the scale and zero point of each block: w ≈ (q - zero) · scale. */
export interface BlockFit {
  /** `rows` × `columns`. */
  readonly q: Int16Array;
  /** `rows` × blocks, as its type can hold them. */
  readonly scale: Float32Array;
  readonly zero: Int16Array;
}

/** Blocks of a row. */
export function blocksOf(p: Pick<BlockProblem, "columns" | "block">): number {
  return Math.ceil(p.columns / p.block);
}

/** A fit with nothing in it. */
export function emptyFit(p: BlockProblem): BlockFit {
  const groups = p.rows * blocksOf(p);
  return {
    q: new Int16Array(p.rows * p.columns),
    scale: new Float32Array(groups),
    zero: new Int16Array(groups),
  };
}

/** The nearest integer of the grid, ties to even. */
export function nearest(value: number, scale: number, zero: number, grid: Grid): number {
  const q = Math.min(grid.hi, Math.max(grid.lo, value / scale + zero));
  const r = Math.round(q);
  return r - q === 0.5 && r % 2 !== 0 ? r - 1 : r;
}

/** The floats a fit stands for, `rows` × `columns`. */
export function restored(p: Pick<BlockProblem, "rows" | "columns" | "block">, fit: BlockFit): Float64Array {
  const out = new Float64Array(p.rows * p.columns);
  const blocks = blocksOf(p);
  for (let r = 0; r < p.rows; r++)
    for (let b = 0; b < blocks; b++) {
      const g = r * blocks + b;
      const scale = fit.scale[g]!;
      const zero = fit.zero[g]!;
      const end = r * p.columns + Math.min(p.columns, (b + 1) * p.block);
      // Rounded to float32: that is what a runtime multiplies with.
      for (let i = r * p.columns + b * p.block; i < end; i++)
        out[i] = Math.fround((fit.q[i]! - zero) * scale);
    }
  return out;
}
