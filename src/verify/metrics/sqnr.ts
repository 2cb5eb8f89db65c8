import { type Energies, energies, ratioDb } from "../../numeric/energy.ts";

export { energies, ratioDb, SQNR_CAP_DB } from "../../numeric/energy.ts";

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
