import { symmetricEigen } from "../linalg/eigen.ts";
import { addProduct, product, transposed, viewOf } from "../linalg/product.ts";
import { solveRowsUpper } from "../linalg/triangular.ts";
import { gramRoot } from "../quantize/low-rank.ts";

/** Layers that see inputs of one kind: their weights side by side, and the Gram matrix of those inputs. */
export interface BasisProblem {
  /** Row-major, a row per output, `columns` inputs each. */
  readonly weights: readonly Float64Array[];
  readonly columns: number;
  readonly gram: Float64Array;
}

/** One basis of the inputs for all layers: w ≈ up · down. */
export interface SharedBasis {
  readonly rank: number;
  /** `rank` × `columns`, the same for every layer. */
  readonly down: Float64Array;
  /** Outputs × `rank`, one per layer. */
  readonly ups: readonly Float64Array[];
}

/** Every direction of the inputs by what it carries to the outputs of all layers together. */
export interface Spectrum {
  /** Energies, descending: what leaving a direction out costs, Σ ‖Δ·x‖² in the damped measure. */
  readonly energy: Float64Array;
  /** The basis of the `rank` strongest directions. */
  basis(rank: number): SharedBasis;
}

/**
 * Basis sharing (arXiv:2410.03765) in closed form: with S·Sᵀ the Gram matrix, the stacked weights W·S = U·Σ·Vᵀ give
 * down = V_rᵀ·S⁻¹ and up_l = W_l·S·V_r, the best shared factor of that rank for these inputs. Only columns × columns
 * matrices are formed: Sᵀ·(Σ W_lᵀ·W_l)·S has the squared singular values.
 */
export function inputSpectrum({ weights, columns: n, gram }: BasisProblem, damp: number): Spectrum {
  const s = gramRoot(gram, n, damp);
  const all = new Float64Array(n * n);
  for (const w of weights) {
    const t = viewOf(transposed(w, w.length / n, n), n, w.length / n);
    addProduct(viewOf(all, n, n), 1, t, t);
  }
  const st = viewOf(transposed(s, n, n), n, n);
  const right = product(viewOf(all, n, n), st);
  const { values, vectors } = symmetricEigen(product(st, viewOf(transposed(right, n, n), n, n)), n);
  return {
    energy: values.map((v) => Math.max(0, v)),
    basis(rank) {
      const directions = vectors.slice(0, rank * n);
      const top = viewOf(directions, rank, n);
      // Rows of V_rᵀ·Sᵀ, so that each up is W_l times their transpose.
      const spread = product(top, viewOf(s, n, n));
      const down = directions.slice();
      solveRowsUpper(s, n, down, rank);
      const ups = weights.map((w) => product(viewOf(w, w.length / n, n), viewOf(spread, rank, n)));
      return { rank, down, ups };
    },
  };
}

/** The least rank whose left-out energy is at most `share` of the whole. */
export function rankFor(energy: Float64Array, share: number): number {
  const total = energy.reduce((a, b) => a + b, 0);
  let left = 0;
  for (let r = energy.length; r > 0; r--) {
    left += energy[r - 1]!;
    if (left > share * total) return r;
  }
  return Math.min(1, energy.length);
}
