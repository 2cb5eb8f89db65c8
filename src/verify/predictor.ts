/** What a denoiser says about a batch: both guidance halves, one sample after the other. */
export interface Prediction {
  readonly conditional: Float32Array;
  /** `null` when the pipeline has no unconditional input. */
  readonly unconditional: Float32Array | null;
  /** Learned variance of the conditional half, for models that predict one behind the prediction. */
  readonly variance: Float32Array | null;
}

/** One side of a comparison: a loaded denoiser that knows the pipeline's conditioning. */
export interface Predictor {
  /**
   * Prediction for every sample at one timestep. `samples` holds `conditions.length` samples one after the other;
   * `conditions` are indices of the pipeline's conditions.
   */
  predict(samples: Float32Array, timestep: number, conditions: readonly number[]): Promise<Prediction>;
}

/** Guided output: u + g · (c − u); at guidance 1, or without an unconditional half, the conditional output itself. */
export function guided(p: Prediction, guidance: number): Float32Array {
  const { conditional, unconditional } = p;
  if (unconditional === null || guidance === 1) return conditional;
  return conditional.map((c, i) => unconditional[i]! + guidance * (c - unconditional[i]!));
}

/**
 * Separates the output of a model that predicts a variance too, per sample `[prediction, variance]` along the channels,
 * from that of one that does not.
 */
export function separate(
  output: Float32Array,
  count: number,
  length: number,
): { readonly mean: Float32Array; readonly variance: Float32Array | null } {
  if (output.length === count * length) return { mean: output, variance: null };
  if (output.length !== 2 * count * length)
    throw new Error(`the denoiser returned ${output.length} numbers for ${count} samples of ${length}`);
  const mean = new Float32Array(count * length);
  const variance = new Float32Array(count * length);
  for (let k = 0; k < count; k++) {
    mean.set(output.subarray(2 * k * length, (2 * k + 1) * length), k * length);
    variance.set(output.subarray((2 * k + 1) * length, (2 * k + 2) * length), k * length);
  }
  return { mean, variance };
}
