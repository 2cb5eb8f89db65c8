import { createRng, gaussian, type Rng } from "../numeric/rng.ts";

/** What a trajectory is for. What calibrates never judges. */
export type SeedPurpose = "calibration" | "verification";

/**
 * Names one noise trajectory. The purpose is part of the name of its random stream, so no choice of root seed or index
 * can make a calibration trajectory equal a verification trajectory.
 */
export interface Seed {
  readonly purpose: SeedPurpose;
  /** The build's seed. */
  readonly root: number;
  readonly index: number;
}

function seeds(purpose: SeedPurpose, root: number, count: number, first: number): readonly Seed[] {
  return Array.from({ length: count }, (_, i) => ({ purpose, root, index: first + i }));
}

/** Seeds whose trajectories statistics may see. */
export function calibrationSeeds(root: number, count: number, first = 0): readonly Seed[] {
  return seeds("calibration", root, count, first);
}

/** Seeds whose trajectories judge a build. */
export function verificationSeeds(root: number, count: number, first = 0): readonly Seed[] {
  return seeds("verification", root, count, first);
}

/** The random stream of a trajectory. */
export function seedRng(seed: Seed): Rng {
  return createRng(seed.root, "trajectory", seed.purpose, seed.index);
}

/** Starting noise of a trajectory: standard normal, independent of how trajectories are grouped into batches. */
export function startingNoise(seed: Seed, count: number): Float32Array {
  return gaussian(seedRng(seed).split("start"), count);
}

/** Noise drawn at model call `call`; every call has its own stream. */
export function stepNoise(seed: Seed, call: number, count: number): Float32Array {
  return gaussian(seedRng(seed).split("step", call), count);
}
