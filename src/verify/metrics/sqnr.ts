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

/** SQNR in dB of one array against another: 10·log10(Σ r² / Σ (c − r)²), capped at {@link SQNR_CAP_DB}. */
export function sqnr(reference: ArrayLike<number>, candidate: ArrayLike<number>): number {
  const e = energies(reference, candidate);
  return ratioDb(e.signal, e.noise);
}

/**
 * Energies per (seed, step): what the teacher-forced and the drift curve keep of a trajectory, O(seeds × steps)
 * whatever the size of a sample.
 */
export class EnergyTable {
  readonly seeds: number;
  readonly steps: number;
  readonly #signal: Float64Array;
  readonly #noise: Float64Array;

  constructor(seeds: number, steps: number) {
    this.seeds = seeds;
    this.steps = steps;
    this.#signal = new Float64Array(seeds * steps);
    this.#noise = new Float64Array(seeds * steps);
  }

  add(seed: number, step: number, e: Energies): void {
    this.#signal[seed * this.steps + step]! += e.signal;
    this.#noise[seed * this.steps + step]! += e.noise;
  }

  /** dB at one step, energies summed over the given seeds (all unless said; a seed may occur several times). */
  at(step: number, seeds?: ArrayLike<number>): number {
    let signal = 0;
    let noise = 0;
    const count = seeds?.length ?? this.seeds;
    for (let i = 0; i < count; i++) {
      const row = (seeds?.[i] ?? i) * this.steps + step;
      signal += this.#signal[row]!;
      noise += this.#noise[row]!;
    }
    return ratioDb(signal, noise);
  }

  /** dB at every step. */
  curve(seeds?: ArrayLike<number>): number[] {
    return Array.from({ length: this.steps }, (_, step) => this.at(step, seeds));
  }

  /** Mean of the dB over steps. */
  mean(seeds?: ArrayLike<number>): number {
    const curve = this.curve(seeds);
    return curve.reduce((sum, v) => sum + v, 0) / Math.max(1, curve.length);
  }
}
