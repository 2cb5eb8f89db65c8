import { type Matrix, matrix, multiply, turned } from "../linalg/gemm.ts";
import { solveRowsUpper } from "../linalg/triangular.ts";
import { gramRoot } from "../quantize/low-rank.ts";

/**
 * What errors of a weight are counted by. A Gram matrix over all columns of the weight, or over groups of `size` of
 * them that all see the same inputs: the channels of a convolution under each tap, channels fastest.
 */
export interface Weighing {
  readonly gram: Float64Array;
  readonly size: number;
}

/** Errors weighed by S with S·Sᵀ = gram: w ↦ w·S and back. */
export interface Whitener {
  /** rows·S as a new array. */
  whiten(rows: Matrix): Float64Array;
  /** rows ← rows·S⁻¹ in place, row-major. */
  restore(rows: Float64Array): void;
}

/** `null` counts all columns alike. The Gram matrix is damped by a share of its mean diagonal. */
export function whitenerOf(weighing: Weighing | null, damp: number): Whitener {
  if (weighing === null)
    return {
      whiten: (rows) => Float64Array.from(rowMajor(rows)),
      restore: () => {},
    };
  const { gram, size } = weighing;
  const s = gramRoot(gram, size, damp);
  return {
    whiten(rows) {
      const flat = rowMajor(rows);
      return multiply(matrix(flat, flat.length / size, size), matrix(s, size, size));
    },
    restore(rows) {
      solveRowsUpper(s, size, rows, rows.length / size);
    },
  };
}

function rowMajor(m: Matrix): Float64Array | Float32Array {
  if (m.across === 1 && m.down === m.columns) return m.data.subarray(m.start, m.start + m.rows * m.columns);
  const out = new Float64Array(m.rows * m.columns);
  for (let i = 0; i < m.rows; i++)
    for (let j = 0; j < m.columns; j++) out[i * m.columns + j] = m.data[m.start + i * m.down + j * m.across]!;
  return out;
}

/** tr(d·gram·dᵀ), undamped; without a weighing Σ d². `d` is row-major. */
export function weighedEnergy(d: Float64Array, weighing: Weighing | null): number {
  let sum = 0;
  if (weighing === null) {
    for (const x of d) sum += x * x;
    return sum;
  }
  const { gram, size } = weighing;
  const rows = d.length / size;
  const dh = multiply(matrix(d, rows, size), turned(matrix(gram, size, size)));
  for (let i = 0; i < d.length; i++) sum += dh[i]! * d[i]!;
  return sum;
}
