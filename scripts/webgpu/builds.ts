import type { Recipe } from "../../src/index.ts";

/** A build to make and to run. */
export interface Build {
  readonly name: string;
  /** Pipeline folder, relative to the repository. */
  readonly source: string;
  readonly preset: string;
  /** Lengths: shape arithmetic of open ones would run on the CPU. */
  readonly shape: Readonly<Record<string, number>>;
  readonly steps: number;
}

/** What the process with the driver is told to run. */
export interface Task {
  readonly name: string;
  readonly folder: string;
  readonly steps: number;
}

/** What it found; figures are dB of SQNR against the same build on the CPU provider. */
export interface Row {
  readonly name: string;
  /** Why the build did not open or run; `null` when it did. */
  readonly error: string | null;
  readonly calls: number;
  /** All calls of the trajectory together, on the CPU's own inputs. */
  readonly whole: number;
  /** Its worst call. */
  readonly worst: number;
  /** Finished samples of two free trajectories. */
  readonly sample: number;
  /** MatMulNBits nodes in the model. */
  readonly packed: number;
  readonly firstSeconds: number;
  readonly nextSeconds: number;
}

const UNET = { source: "fixtures/cifar-unet", shape: { batch_size: 2, height: 16, width: 16 }, steps: 4 };
const DIT = { source: "../shared/models/cifar-dit", shape: { batch_size: 2 }, steps: 4 };

/** Half precision and 4 bits of both networks. */
export const BUILDS: readonly Build[] = [
  { name: "cifar-unet-fp16", preset: "fp16", ...UNET },
  { name: "cifar-unet-w4", preset: "w4", ...UNET },
  { name: "cifar-dit-fp16", preset: "fp16", ...DIT },
  { name: "cifar-dit-w4", preset: "w4", ...DIT },
];

/** A preset whose builds read timesteps as int32, without which two nodes stay on the CPU. */
export function recipeOf(preset: string): Recipe {
  return { extends: preset, output: { integers: "narrow" } };
}
