/** Upper bound of every reported ratio in dB: beyond it float32 rounding decides, and identical outputs have no noise. */
export const SQNR_CAP_DB = 120;

/** Signal-to-noise ratio of two energies in dB, in [-cap, cap]; no noise at all gives the cap, no signal its negative. */
export function ratioDb(signal: number, noise: number): number {
  if (Number.isNaN(signal) || Number.isNaN(noise)) return -SQNR_CAP_DB;
  if (noise === 0) return SQNR_CAP_DB;
  if (signal === 0 || noise === Number.POSITIVE_INFINITY) return -SQNR_CAP_DB;
  const db = 10 * Math.log10(signal / noise);
  return Math.max(-SQNR_CAP_DB, Math.min(SQNR_CAP_DB, db));
}

/** Energies behind one ratio: `signal` = Σ r², `noise` = Σ (c − r)². */
export interface Energies {
  readonly signal: number;
  readonly noise: number;
}

/** Energies of `candidate` against `reference` over `[from, to)`; non-finite candidate values count as infinite noise. */
export function energies(
  reference: ArrayLike<number>,
  candidate: ArrayLike<number>,
  from = 0,
  to = reference.length,
): Energies {
  let signal = 0;
  let noise = 0;
  for (let i = from; i < to; i++) {
    const r = reference[i]!;
    const d = candidate[i]! - r;
    signal += r * r;
    noise += d * d;
  }
  return { signal, noise: Number.isNaN(noise) ? Number.POSITIVE_INFINITY : noise };
}
