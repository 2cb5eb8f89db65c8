/** One way a build could be made: its size, and the energy of its error at each recorded call. */
export interface Measured {
  readonly size: number;
  readonly noise: Float64Array;
}

/** What is known before a combination is chosen. */
export interface SplitProblem {
  /** Everything that has a ladder left out. */
  readonly base: Measured;
  /** Each level of each ladder with all other ladders left out. */
  readonly alone: readonly (readonly Measured[])[];
  /** Energy of the signal at each call. */
  readonly signal: Float64Array;
  /** Mean over calls of the signal-to-noise ratio in dB that has to be left. */
  readonly wanted: number;
}

/** A combination with what is known or expected of it. */
export interface Combination extends Measured {
  /** Level of each ladder, -1 for left out. */
  readonly levels: readonly number[];
  readonly db: number;
}

/** Errors below 120 dB count as that: rounding of float32 decides there. */
const FLOOR = 1e-12;

/** Mean over calls of the signal-to-noise ratio in dB. */
export function meanDecibel(noise: Float64Array, signal: Float64Array): number {
  let sum = 0;
  for (const [k, s] of signal.entries()) sum -= 10 * Math.log10(Math.max(noise[k]! / s, FLOOR));
  return sum / signal.length;
}

/** Key of a combination. */
export const keyOf = (levels: readonly number[]): string => levels.join(" ");

/** Every combination of levels, milder ones first. */
function* combinations(alone: SplitProblem["alone"], from = 0): Generator<number[]> {
  if (from === alone.length) {
    yield [];
    return;
  }
  for (let level = -1; level < alone[from]!.length; level++)
    for (const rest of combinations(alone, from + 1)) yield [level, ...rest];
}

/** What a combination should come to: errors of independent passes add up in energy, shares of the size multiply. */
export function expected(p: SplitProblem, levels: readonly number[], correction: Float64Array): Combination {
  let size = p.base.size;
  const noise = Float64Array.from(p.base.noise);
  for (const [i, level] of levels.entries()) {
    if (level < 0) continue;
    const { size: own, noise: added } = p.alone[i]![level]!;
    size *= own / p.base.size;
    for (const [k, n] of added.entries()) noise[k] = noise[k]! + Math.max(0, n - p.base.noise[k]!);
  }
  for (const [k, c] of correction.entries()) noise[k] = noise[k]! * c;
  return { levels, size, noise, db: meanDecibel(noise, p.signal) };
}

/**
 * The smallest combination within the error budget: as measured where `known` has it, else as {@link expected}, with the
 * noise at each call times `correction`. Of equal sizes the one with less error. Falls back to everything left out.
 */
export function smallest(
  p: SplitProblem,
  known: ReadonlyMap<string, Combination>,
  correction: Float64Array,
): Combination {
  let best: Combination | null = null;
  for (const levels of combinations(p.alone)) {
    const c = known.get(keyOf(levels)) ?? expected(p, levels, correction);
    if (c.db < p.wanted) continue;
    if (best === null || c.size < best.size || (c.size === best.size && c.db > best.db)) best = c;
  }
  return best ?? known.get(keyOf(p.alone.map(() => -1)))!;
}
