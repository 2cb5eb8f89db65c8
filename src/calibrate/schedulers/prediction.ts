import { quantile } from "../../numeric/stats.ts";
import type { Numbers, Prediction, SchedulerConfig } from "./types.ts";

export type { Numbers } from "./types.ts";

/**
 * The clean sample implied by a model output, for `x = alpha * x0 + sigma * noise`. For flow the path is
 * `x = (1 - sigma) * x0 + sigma * noise` and the output its derivative in sigma.
 */
export function cleanSample(
  kind: Prediction,
  output: Numbers,
  x: Numbers,
  alpha: number,
  sigma: number,
): Float64Array {
  const out = new Float64Array(x.length);
  switch (kind) {
    case "epsilon":
      for (let k = 0; k < out.length; k++) out[k] = (x[k]! - sigma * output[k]!) / alpha;
      return out;
    case "v_prediction":
      for (let k = 0; k < out.length; k++) out[k] = alpha * x[k]! - sigma * output[k]!;
      return out;
    case "sample":
      out.set(output);
      return out;
    case "flow_prediction":
      for (let k = 0; k < out.length; k++) out[k] = x[k]! - sigma * output[k]!;
      return out;
  }
}

/** The noise implied by a model output, in the same terms as {@link cleanSample}. */
export function impliedNoise(
  kind: Prediction,
  output: Numbers,
  x: Numbers,
  alpha: number,
  sigma: number,
): Float64Array {
  const out = new Float64Array(x.length);
  switch (kind) {
    case "epsilon":
      out.set(output);
      return out;
    case "v_prediction":
      for (let k = 0; k < out.length; k++) out[k] = alpha * output[k]! + sigma * x[k]!;
      return out;
    case "sample":
      for (let k = 0; k < out.length; k++) out[k] = (x[k]! - alpha * output[k]!) / sigma;
      return out;
    case "flow_prediction":
      for (let k = 0; k < out.length; k++) out[k] = x[k]! + (1 - sigma) * output[k]!;
      return out;
  }
}

/**
 * Keeps the predicted clean sample in range, in place: fixed clipping, or dynamic thresholding (Saharia et al. 2022,
 * section 2.3) per sample of the batch.
 */
export function limitSample(x0: Float64Array, config: SchedulerConfig, batch: number): Float64Array {
  if (config.thresholding) {
    const size = x0.length / batch;
    for (let b = 0; b < batch; b++) {
      const part = x0.subarray(b * size, (b + 1) * size);
      const q = quantile(part.map(Math.abs), config.dynamic_thresholding_ratio);
      const s = Math.min(Math.max(q, 1), Math.max(config.sample_max_value, 1));
      for (let k = 0; k < part.length; k++) part[k] = Math.min(Math.max(part[k]!, -s), s) / s;
    }
  } else if (config.clip_sample) {
    const r = config.clip_sample_range;
    for (let k = 0; k < x0.length; k++) x0[k] = Math.min(Math.max(x0[k]!, -r), r);
  }
  return x0;
}

/** `sum(weight * array)` over pairs. */
export function combine(length: number, ...terms: readonly (readonly [number, Numbers])[]): Float64Array {
  const out = new Float64Array(length);
  for (let k = 0; k < length; k++) {
    let sum = 0;
    for (const [weight, values] of terms) sum += weight * values[k]!;
    out[k] = sum;
  }
  return out;
}

/** `(a - b) * scale` elementwise. */
export function difference(a: Numbers, b: Numbers, scale: number): Float64Array {
  const out = new Float64Array(a.length);
  for (let k = 0; k < out.length; k++) out[k] = (a[k]! - b[k]!) * scale;
  return out;
}

/** The noise a stochastic step needs; its absence is a bug of the caller. */
export function required(noise: Numbers | undefined): Numbers {
  if (noise === undefined) throw new Error("this sampler step needs noise");
  return noise;
}
