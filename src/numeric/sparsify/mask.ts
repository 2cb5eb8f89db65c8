import { type Factored, type Matrix, push, type Sweep } from "../quantize/feedback.ts";
import type { SparsePattern } from "./pattern.ts";
import { selectKept } from "./select.ts";

/** Decides during a sweep which weights become zero. */
export interface Mask {
  /** 1 for weights that stay, row-major like the matrix; filled as the sweep goes. */
  readonly kept: Uint8Array;
  /** Before each stretch. */
  begin(s: Sweep): void;
  /** Whether the weight of row `r` at sweep position `j` stays; asked in the order of the sweep. */
  stays(s: Sweep, r: number, j: number, column: number): boolean;
}

/** A mask that was chosen before. */
export function fixedMask(kept: Uint8Array, columns: number): Mask {
  return { kept, begin: () => {}, stays: (_s, r, _j, column) => kept[r * columns + column] === 1 };
}

/**
 * SparseGPT's choice: what zeroing a weight costs when all later ones may make up for it, (w·v_jj)², with the weight as
 * earlier errors have shifted it. Patterns over the matrix are chosen stretch by stretch with the same share of zeros
 * in each; `n:m` groups when the sweep reaches them.
 */
export function sweepMask(m: Matrix, { v, order }: Factored, pattern: SparsePattern): Mask {
  const { rows, columns, weights } = m;
  const kept = new Uint8Array(rows * columns).fill(1);
  const { among } = pattern;
  /** Losses of the weights [from, from + width) of a row, all moved to where the errors before them want them. */
  const losses = (s: Sweep, r: number, from: number, width: number): Float64Array => {
    const out = new Float64Array(width);
    for (let i = 0; i < width; i++) {
      const j = from + i;
      const shift = push(s, columns, r, j);
      // Overwritten as soon as the sweep settles the weight.
      s.errors[r * columns + j] = -shift;
      out[i] = ((weights[r * columns + order[j]!]! + shift) * v[j * columns + j]!) ** 2;
    }
    return out;
  };
  const keep = (from: number, width: number, chosen: Uint8Array, r: number): void => {
    for (let i = 0; i < width; i++) kept[r * columns + order[from + i]!] = chosen[i]!;
  };
  return {
    kept,
    begin(s) {
      if (among !== null) return;
      const width = s.end - s.from;
      const values = new Float64Array(rows * width);
      for (let r = 0; r < rows; r++) values.set(losses(s, r, s.from, width), r * width);
      const chosen = selectKept({ values, rows, columns: width }, pattern, "matrix", pattern.ratio);
      for (let r = 0; r < rows; r++) keep(s.from, width, chosen.subarray(r * width, (r + 1) * width), r);
    },
    stays(s, r, j, column) {
      if (among !== null && j % among === 0) {
        const values = losses(s, r, j, among);
        keep(j, among, selectKept({ values, rows: 1, columns: among }, pattern, "matrix", pattern.ratio), r);
      }
      return kept[r * columns + column] === 1;
    },
  };
}
