/**
 * Numerical rank of a symmetric positive semidefinite matrix, row major: the number of pivots of a Cholesky
 * factorisation with diagonal pivoting (Higham 2002, §10.3) that exceed `tolerance` times the largest diagonal element.
 * Time O(size² · rank). The matrix is not changed.
 */
export function numericalRank(matrix: Float64Array, size: number, tolerance: number): number {
  const diagonal = Float64Array.from({ length: size }, (_, i) => matrix[i * size + i]!);
  const limit = tolerance * diagonal.reduce((a, b) => Math.max(a, b), 0);
  // Row k holds column k of the factor, so that the inner loop walks along memory.
  const factor: Float64Array[] = [];
  const chosen: number[] = [];
  for (;;) {
    let pivot = -1;
    for (let i = 0; i < size; i++)
      if (diagonal[i]! > limit && (pivot < 0 || diagonal[i]! > diagonal[pivot]!)) pivot = i;
    if (pivot < 0) return chosen.length;
    const root = Math.sqrt(diagonal[pivot]!);
    const column = matrix.slice(pivot * size, (pivot + 1) * size);
    for (const previous of factor) {
      const f = previous[pivot]!;
      if (f === 0) continue;
      for (let i = 0; i < size; i++) column[i]! -= f * previous[i]!;
    }
    for (let i = 0; i < size; i++) {
      column[i]! /= root;
      diagonal[i]! -= column[i]! * column[i]!;
    }
    for (const done of chosen) column[done] = 0;
    // What is left of a chosen row is zero but for rounding, which must not choose it again.
    diagonal[pivot] = Number.NEGATIVE_INFINITY;
    chosen.push(pivot);
    factor.push(column);
  }
}
