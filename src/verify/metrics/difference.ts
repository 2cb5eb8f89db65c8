import { ratioDb } from "./sqnr.ts";

/**
 * Accumulates how two vectors per step compare: length ratio, cosine and SQNR of the sums over seeds. Fed with
 * conditional minus unconditional outputs it is the conditioning test: a build that ignores its condition keeps a high
 * SQNR of the output while this difference vanishes.
 */
export class DifferenceTable {
  readonly steps: number;
  readonly #rr: Float64Array;
  readonly #cc: Float64Array;
  readonly #rc: Float64Array;
  readonly #noise: Float64Array;

  constructor(steps: number) {
    this.steps = steps;
    this.#rr = new Float64Array(steps);
    this.#cc = new Float64Array(steps);
    this.#rc = new Float64Array(steps);
    this.#noise = new Float64Array(steps);
  }

  /** Adds `a − b` of the reference and of the candidate at one step, elements `[from, to)` of each array. */
  add(
    step: number,
    reference: { readonly conditional: ArrayLike<number>; readonly unconditional: ArrayLike<number> },
    candidate: { readonly conditional: ArrayLike<number>; readonly unconditional: ArrayLike<number> },
  ): void {
    let rr = 0;
    let cc = 0;
    let rc = 0;
    let noise = 0;
    for (let i = 0; i < reference.conditional.length; i++) {
      const r = reference.conditional[i]! - reference.unconditional[i]!;
      const c = candidate.conditional[i]! - candidate.unconditional[i]!;
      rr += r * r;
      cc += c * c;
      rc += r * c;
      noise += (c - r) ** 2;
    }
    this.#rr[step]! += rr;
    this.#cc[step]! += cc;
    this.#rc[step]! += rc;
    this.#noise[step]! += Number.isNaN(noise) ? Number.POSITIVE_INFINITY : noise;
  }

  /** Norms before and after, their ratio, the cosine between the differences and the SQNR of the difference in dB. */
  at(step: number): {
    referenceNorm: number;
    candidateNorm: number;
    ratio: number;
    cosine: number;
    sqnr: number;
  } {
    const rr = this.#rr[step]!;
    const cc = this.#cc[step]!;
    const norm = Math.sqrt(rr) * Math.sqrt(cc);
    return {
      referenceNorm: Math.sqrt(rr),
      candidateNorm: Number.isNaN(cc) ? 0 : Math.sqrt(cc),
      ratio: rr === 0 || Number.isNaN(cc) ? (cc === 0 ? 1 : 0) : Math.sqrt(cc / rr),
      cosine: norm > 0 ? Math.max(-1, Math.min(1, this.#rc[step]! / norm)) : rr === cc ? 1 : 0,
      sqnr: rr === 0 && cc === 0 ? ratioDb(1, 0) : ratioDb(rr, this.#noise[step]!),
    };
  }
}
