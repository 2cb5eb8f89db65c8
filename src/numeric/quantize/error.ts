import { quadraticForm } from "../linalg/product.ts";

/** What replacing a weight by another costs. */
export interface LayerError {
  /** Predicted Σ ‖Δ·x‖² = tr(Δ·h·Δᵀ) over the inputs behind the Gram matrix; Σ Δ² without one. */
  readonly noise: number;
  /** Σ ‖w·x‖² = tr(w·h·wᵀ), or Σ w². */
  readonly signal: number;
}

/** Error of `approximation` in the measure of a Gram matrix; both weights are row-major `rows` × `columns`. */
export function layerError(
  weights: Float64Array,
  approximation: Float64Array,
  shape: { readonly rows: number; readonly columns: number; readonly gram: Float64Array | null },
): LayerError {
  const { rows, columns, gram } = shape;
  const delta = Float64Array.from(weights, (w, i) => w - approximation[i]!);
  if (gram === null) {
    const square = (x: Float64Array): number => x.reduce((s, v) => s + v * v, 0);
    return { noise: square(delta), signal: square(weights) };
  }
  return {
    noise: Math.max(0, quadraticForm(delta, rows, gram, columns)),
    signal: Math.max(0, quadraticForm(weights, rows, gram, columns)),
  };
}
