import type { Json } from "../../ir/tensor.ts";
import type { Bindings } from "../../passes/pass.ts";

/** Options of one pass as a recipe gives them; `null` skips the pass. */
export type StageOptions = { readonly [key: string]: Json } | null;

/** `name`, or `{ name: options }` with exactly one key. */
export type StageEntry = string | { readonly [name: string]: StageOptions };

/** What a recipe says about one target on top of the common part. */
export interface TargetOverride {
  readonly passes?: { readonly [name: string]: StageOptions };
  readonly shape?: Bindings;
}

/** What one component gets: `{}` the recipe's passes, `passes` a list of its own, `null` exact passes only. */
export type ComponentRecipe = { readonly passes?: readonly StageEntry[] } | null;

/** A limit on a fidelity figure in dB (SQNR, PSNR) or as an index (SSIM). */
export interface Floor {
  readonly mean?: number;
  readonly worst?: number;
}

/** Limits checked at the end of a build; a missed one gives exit code 3. */
export interface Budgets {
  /** Bytes of the component's files: a number, `"12 MB"`, or `"30%"` of the original. */
  readonly bytes?: number | string;
  /** Teacher-forced SQNR in dB over the steps. */
  readonly sqnr?: Floor;
  /** PSNR in dB of free-running samples against the original's, median over seeds. */
  readonly psnr?: number;
  /** SSIM of free-running samples against the original's, median over seeds. */
  readonly ssim?: number;
}

/** One error budget for several lossy passes of the recipe. */
export interface Split {
  /** Mean teacher-forced SQNR in dB that has to be left on the calibration trajectory. */
  readonly sqnr: number;
  /** What is made small: bytes of weights, operations of a run, or its estimated time. */
  readonly per?: "bytes" | "flops" | "latency";
  /** Per pass, options from mild to strong, each laid over those the recipe gives the pass. */
  readonly over: { readonly [pass: string]: readonly { readonly [key: string]: Json }[] };
}

/** How a build is judged and calibrated: which trajectory is sampled. */
export interface Sampling {
  readonly sampler?: string;
  readonly steps?: number;
  readonly guidance?: number;
  readonly samples?: number;
}

/** How statistics are collected: the trajectory, and which of its calls count how much. */
export interface CalibrationSampling extends Sampling {
  /** `uniform`, `normal`, `measured`, or the timesteps themselves. */
  readonly timesteps?: "uniform" | "normal" | "measured" | readonly number[];
  readonly weights?: "uniform" | "measured";
  /** Share of the distance to neighbouring timesteps by which they are moved. */
  readonly jitter?: number;
  /** Trajectories of other seeds and timesteps on which fits are priced a second time; 0 holds none out. */
  readonly heldOut?: number;
  /** Positions kept per call of every value a pass wants some of. */
  readonly rows?: number;
  /** File of `diffpress calibrate` to take statistics from where it has them. */
  readonly artifact?: string;
}

/** How files are laid out. */
export interface OutputLayout {
  /** Tensors below this many bytes stay inside `model.onnx`. */
  readonly inlineBelow?: number;
  /** Alignment in bytes of large tensors in the data file. */
  readonly align?: number;
  /** Names of inner values and nodes: as they are, or short to save bytes. */
  readonly names?: "keep" | "short";
  /** Integer graph inputs: as they are, or int32 where the target cannot compute with int64. */
  readonly integers?: "keep" | "narrow";
}

/** A recipe as people write it; every key may be left out. */
export interface Recipe {
  readonly $schema?: string;
  /** Preset name, or path of another recipe relative to this one. */
  readonly extends?: string;
  readonly seed?: number;
  /**
   * By component name or kind (`text-encoder`), what it gets instead of the default: the denoiser the recipe's passes,
   * everything else exact ones. A plain list names the only components that get the recipe's passes.
   */
  readonly components?: readonly string[] | { readonly [nameOrKind: string]: ComponentRecipe };
  readonly shape?: Bindings;
  readonly calibration?: CalibrationSampling;
  readonly verification?: Sampling;
  readonly passes?: readonly StageEntry[];
  readonly split?: Split | null;
  readonly targets?: { readonly [id: string]: TargetOverride | null };
  readonly budgets?: Budgets | null;
  readonly output?: OutputLayout;
}

/** One pass to run with its options. Options are as given; defaults are filled in when the plan is made. */
export interface Stage {
  readonly name: string;
  readonly options: { readonly [key: string]: Json };
}

/** What a component gets once the recipe is resolved. */
export type ComponentStages =
  | { readonly kind: "recipe" }
  | { readonly kind: "exact" }
  | { readonly kind: "own"; readonly stages: readonly Stage[] };

/** What a resolved recipe says of components, by name or kind. */
export interface ResolvedComponents {
  /** A component that is not listed gets exact passes, the denoiser too. */
  readonly only: boolean;
  readonly entries: ReadonlyMap<string, ComponentStages>;
}

/** A recipe with everything it extends merged in. */
export interface ResolvedRecipe {
  readonly seed: number;
  readonly components: ResolvedComponents;
  readonly shape: Bindings;
  readonly calibration: CalibrationSampling;
  readonly verification: Sampling;
  readonly stages: readonly Stage[];
  readonly split: Split | null;
  /** In the order the targets were named. */
  readonly targets: ReadonlyMap<string, TargetOverride>;
  readonly budgets: Budgets;
  readonly output: Required<OutputLayout>;
}
