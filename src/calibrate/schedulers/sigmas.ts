import { linspace } from "./spacing.ts";
import type { SchedulerConfig } from "./types.ts";

/** Linear interpolation of a table at a fractional index, clamped at both ends. */
export function interpolate(table: Float64Array, at: number): number {
  const last = table.length - 1;
  const x = Math.min(Math.max(at, 0), last);
  const low = Math.min(Math.floor(x), Math.max(last - 1, 0));
  const a = table[low]!;
  const b = table[Math.min(low + 1, last)]!;
  return a + (b - a) * (x - low);
}

/** Fractional training timestep of a sigma, linear in log sigma; the table ascends. */
export function timestepOf(sigma: number, training: Float64Array): number {
  const target = Math.log(Math.max(sigma, 1e-10));
  let low = 0;
  for (let i = 0; i < training.length - 1 && Math.log(training[i]!) <= target; i++) low = i;
  const a = Math.log(training[low]!);
  const b = Math.log(training[low + 1]!);
  const w = Math.min(Math.max((a - target) / (a - b), 0), 1);
  return (1 - w) * low + w * (low + 1);
}

/** Descending sigmas of Karras et al. 2022, equation 5, with rho 7. */
export function karrasSigmas(max: number, min: number, count: number): Float64Array {
  const rho = 7;
  const high = max ** (1 / rho);
  const low = min ** (1 / rho);
  return linspace(0, 1, count).map((r) => (high + r * (low - high)) ** rho);
}

/** Descending sigmas, equally spaced in log sigma. */
export function exponentialSigmas(max: number, min: number, count: number): Float64Array {
  return linspace(Math.log(max), Math.log(min), count).map(Math.exp);
}

/**
 * Replaces descending sigmas by the spacing the configuration asks for, between their own ends or the configured
 * `sigma_max` and `sigma_min`; `null` when it asks for none.
 */
export function respaced(
  config: SchedulerConfig,
  high: number,
  low: number,
  count: number,
): Float64Array | null {
  const max = config.sigma_max ?? high;
  const min = config.sigma_min ?? low;
  if (config.use_karras_sigmas) return karrasSigmas(max, min, count);
  if (config.use_exponential_sigmas) return exponentialSigmas(max, min, count);
  return null;
}

/** A copy with one more entry. */
export function append(values: Float64Array, last: number): Float64Array {
  const out = new Float64Array(values.length + 1);
  out.set(values);
  out[values.length] = last;
  return out;
}
