import { symmetricEigenvalues } from "../linalg/eigen.ts";
import { type Matrix, matrix, multiply, selfProduct, turned } from "../linalg/gemm.ts";
import { leadingSvd } from "../linalg/leading-svd.ts";
import { type Weighing, whitenerOf } from "./weighing.ts";

/** A weight matrix, a row per output, and how its errors count. */
export interface LowRankProblem {
  readonly weights: Matrix;
  /** `null`: all inputs alike. */
  readonly weighing: Weighing | null;
  /** Share of the mean diagonal added to the Gram matrix. */
  readonly damp: number;
}

/** A matrix as left · right. */
export interface Factors {
  readonly rank: number;
  /** `rows` × `rank`. */
  readonly left: Float64Array;
  /** `rank` × `columns`. */
  readonly right: Float64Array;
}

/**
 * The matrix of a rank whose output differs least from that of the weights on the inputs behind the Gram matrix:
 * SVD_r(W·S)·S⁻¹ with S·Sᵀ = gram (Eckart and Young; SVD-LLM, arXiv:2403.07378). Each vector's magnitude is shared evenly
 * between the two factors, so that neither leaves the range of half precision.
 */
export function lowRankFactors(p: LowRankProblem, rank: number): Factors {
  const { rows, columns } = p.weights;
  const whitener = whitenerOf(p.weighing, p.damp);
  const weighed = whitener.whiten(p.weights);
  const svd = leadingSvd(matrix(weighed, rows, columns), { rank });
  const { right } = svd;
  whitener.restore(right);
  const left = new Float64Array(rows * svd.rank);
  for (let i = 0; i < svd.rank; i++) {
    const row = right.subarray(i * columns, (i + 1) * columns);
    let sum = 0;
    for (const x of row) sum += x * x;
    const share = sum > 0 ? Math.sqrt(svd.values[i]! / Math.sqrt(sum)) : 0;
    for (let j = 0; j < columns; j++) row[j]! *= share;
    for (let r = 0; r < rows; r++)
      left[r * svd.rank + i] = share > 0 ? (svd.left[i * rows + r]! * svd.values[i]!) / share : 0;
  }
  return { rank: svd.rank, left, right };
}

/** Squared singular values of W·S, descending: the sum from index r on is the error of rank r. */
export function weighedSpectrum(p: LowRankProblem): Float64Array {
  const { rows, columns } = p.weights;
  const m = matrix(whitenerOf(p.weighing, p.damp).whiten(p.weights), rows, columns);
  const gram = selfProduct(rows <= columns ? m : turned(m));
  return symmetricEigenvalues(gram, Math.min(rows, columns)).map((v) => Math.max(0, v));
}

/** left · right, row-major. */
export function factorProduct(f: Factors): Float64Array {
  const { left, right, rank } = f;
  return multiply(matrix(left, left.length / rank, rank), matrix(right, rank, right.length / rank));
}
