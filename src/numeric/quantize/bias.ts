/**
 * What a layer's bias must gain so that the mean of its output survives a change of its weight: (w - ŵ)·mean, one number
 * per row (DFQ, arXiv:1906.04721). Weights are row-major, rows × `mean.length`.
 */
export function biasCorrection(
  weights: Float64Array,
  approximation: Float64Array,
  mean: Float64Array,
): Float64Array {
  const columns = mean.length;
  return Float64Array.from({ length: weights.length / columns }, (_, r) => {
    let sum = 0;
    for (let i = 0, at = r * columns; i < columns; i++, at++)
      sum += (weights[at]! - approximation[at]!) * mean[i]!;
    return sum;
  });
}

/**
 * The Gram matrix of inputs less their mean. With the bias corrected, tr(Δ·centred·Δᵀ) is what a change Δ of the weight
 * costs. `gram` and `mean` are averages over the same inputs.
 */
export function centred(gram: Float64Array, mean: Float64Array): Float64Array {
  const n = mean.length;
  const out = gram.slice();
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) out[i * n + j]! -= mean[i]! * mean[j]!;
  return out;
}
