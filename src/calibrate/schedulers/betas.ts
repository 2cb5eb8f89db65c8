import type { SchedulerConfig } from "./types.ts";

const f32 = Math.fround;

/** Equally spaced float32 numbers, built from both ends as the common tensor library does. */
function linspace32(start: number, end: number, count: number): Float32Array {
  const [first, last] = [f32(start), f32(end)];
  const step = count > 1 ? f32(f32(last - first) / (count - 1)) : 0;
  return Float32Array.from({ length: count }, (_, i) =>
    i < count / 2 ? first + f32(step * i) : last - f32(step * (count - 1 - i)),
  );
}

/** The training betas, in float32 as trained models have them. */
function trainingBetas(config: SchedulerConfig): Float32Array {
  const count = config.num_train_timesteps;
  if (config.trained_betas !== null) return Float32Array.from(config.trained_betas);
  switch (config.beta_schedule) {
    case "linear":
      return linspace32(config.beta_start, config.beta_end, count);
    case "scaled_linear":
      return linspace32(Math.sqrt(config.beta_start), Math.sqrt(config.beta_end), count).map((b) => b * b);
    case "squaredcos_cap_v2": {
      // Nichol and Dhariwal 2021, equation 17, with their cap of 0.999.
      const bar = (t: number): number => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;
      return Float32Array.from({ length: count }, (_, i) =>
        Math.min(1 - bar((i + 1) / count) / bar(i / count), 0.999),
      );
    }
  }
}

/** Betas whose last step has no signal left (Lin et al. 2023, algorithm 1). */
function zeroTerminalSnr(betas: Float32Array): Float32Array {
  const roots = cumulativeAlphas(betas).map(Math.sqrt);
  const first = roots[0]!;
  const last = roots[roots.length - 1]!;
  const scale = f32(first / f32(first - last));
  const bar = roots.map((r) => f32(f32(r - last) * scale) ** 2);
  return bar.map((a, i) => f32(1 - (i === 0 ? a : f32(a / bar[i - 1]!))));
}

/** Running product of `1 - beta`: factors and results float32, the product itself float64. */
function cumulativeAlphas(betas: Float32Array): Float32Array {
  let product = 1;
  return betas.map((b) => (product *= f32(1 - b)));
}

/**
 * Signal power left at every training timestep. Float32 on purpose: published schedules live in float32, and where
 * almost no signal is left (cosine schedule, t near the end) sigma depends on those roundings in the fourth digit.
 */
export function alphaBars(config: SchedulerConfig): Float32Array {
  const betas = trainingBetas(config);
  return cumulativeAlphas(config.rescale_betas_zero_snr ? zeroTerminalSnr(betas) : betas);
}

/**
 * {@link alphaBars} for samplers that divide by it: with zero terminal SNR the last entry is 2^-24 instead of 0, so
 * that sigma stays finite.
 */
export function positiveAlphaBars(config: SchedulerConfig): Float32Array {
  const bars = alphaBars(config);
  if (config.rescale_betas_zero_snr) bars[bars.length - 1] = 2 ** -24;
  return bars;
}

/** Noise-to-signal ratio sqrt((1 - a) / a), float32 at each operation. */
export function trainingSigmas(bars: Float32Array): Float64Array {
  return Float64Array.from(bars, (a) => f32(Math.sqrt(f32(f32(1 - a) / a))));
}
