import { quadraticForm } from "./linalg/product.ts";
import type { LayerError } from "./quantize/error.ts";

/** A linear layer before and after something was fitted. */
export interface Refit {
  /** Outputs by inputs, row-major; with several taps the channel is slower than the tap. */
  readonly before: Float64Array;
  readonly after: Float64Array;
  readonly rows: number;
  readonly columns: number;
  /** What the bias has gained; `null` where it stayed. */
  readonly shift: Float64Array | null;
}

/** Second moments E[x xᵀ], `size` × `size`, and means E[x] of inputs. */
export interface InputMoments {
  readonly gram: Float64Array;
  readonly mean: Float64Array;
  readonly size: number;
}

/** Columns of one tap under another: rows of outputs and taps, by channel. */
function byTap(w: Float64Array, channels: number, taps: number): Float64Array {
  const out = new Float64Array(w.length);
  for (let base = 0; base < w.length; base += channels * taps)
    for (let c = 0; c < channels; c++)
      for (let t = 0; t < taps; t++) out[base + t * channels + c] = w[base + c * taps + t]!;
  return out;
}

/** w·m per row. */
function times(w: Float64Array, m: Float64Array): Float64Array {
  const out = new Float64Array(w.length / m.length);
  for (const r of out.keys()) for (const [i, v] of m.entries()) out[r]! += w[r * m.length + i]! * v;
  return out;
}

/**
 * E‖(W - W′)x - shift‖² summed over outputs, on inputs of any moments: exact, because the layer is linear. The signal is
 * E‖Wx‖², about its mean where the bias moves. Moments of channels alone count every tap alike; `null` where a bias moves
 * over those, or where they are of another number of inputs.
 */
export function refitError(refit: Refit, { gram, mean, size }: InputMoments): LayerError | null {
  const { rows, columns, shift } = refit;
  const taps = columns / size;
  if (!Number.isInteger(taps) || (taps > 1 && shift !== null)) return null;
  const laid = (w: Float64Array): Float64Array => (taps === 1 ? w : byTap(w, size, taps));
  const before = laid(refit.before);
  const delta = laid(Float64Array.from(refit.before, (w, i) => w - refit.after[i]!));
  let noise = quadraticForm(delta, rows * taps, gram, size);
  let signal = quadraticForm(before, rows * taps, gram, size);
  if (shift !== null) {
    const [moved, level] = [times(delta, mean), times(before, mean)];
    for (const [r, s] of shift.entries()) noise += s * (s - 2 * moved[r]!);
    for (const m of level) signal -= m * m;
  }
  return { noise: Math.max(0, noise), signal: Math.max(0, signal) };
}
