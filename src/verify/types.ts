import type { Interval, SeedSummary } from "./metrics/interval.ts";

/** Fidelity at one model call of a trajectory. */
export interface StepFidelity {
  readonly timestep: number;
  /** Teacher-forced SQNR of the guided output in dB. */
  readonly sqnr: number;
  /** Within {@link LOSSLESS_DB} of the noise floor at this step: not distinguishable from float rounding. */
  readonly lossless: boolean;
}

/** Free-running distance after one model call. */
export interface DriftStep {
  readonly timestep: number;
  /** SQNR of the candidate's own sample against the reference's in dB, both from the same noise. */
  readonly sqnr: number;
}

/** Conditional minus unconditional output at one model call, before and after. */
export interface ConditioningStep {
  readonly timestep: number;
  readonly referenceNorm: number;
  readonly candidateNorm: number;
  /** candidateNorm / referenceNorm; 0 means the candidate ignores its condition. */
  readonly ratio: number;
  /** Cosine between the two differences. */
  readonly cosine: number;
  /** SQNR of the difference in dB. */
  readonly sqnr: number;
}

/** The conditioning test over a whole trajectory. */
export interface ConditioningResult {
  readonly steps: readonly ConditioningStep[];
  /** Median norm ratio over steps. */
  readonly ratio: number;
  /** Lowest cosine over steps. */
  readonly cosine: number;
  /** Mean of the dB over steps. */
  readonly mean: number;
  readonly worst: { readonly timestep: number; readonly sqnr: number };
  /** The norm ratio stays within [0.5, 2] and the cosine above 0.5 at every step. */
  readonly follows: boolean;
}

export type SettingName = "main" | "steps" | "guidance-1" | "sampler";

/** One way of sampling and what was found with it. */
export interface SettingResult {
  readonly name: SettingName;
  readonly sampler: string;
  readonly steps: number;
  readonly guidance: number;
  readonly seeds: number;
  readonly sqnr: {
    readonly steps: readonly StepFidelity[];
    /** Mean of the dB over steps. */
    readonly mean: number;
    /** 95 % interval of the mean, seeds resampled. */
    readonly interval: Interval;
    readonly worst: { readonly timestep: number; readonly sqnr: number };
    /** Mean and every step are within the noise floor. */
    readonly lossless: boolean;
  };
  readonly drift: readonly DriftStep[];
  /** dB, one value per seed; samples clipped to the sample range, peak = its length. */
  readonly psnr: SeedSummary;
  readonly ssim: SeedSummary;
  /** Absent without an unconditional input. */
  readonly conditioning: ConditioningResult | null;
}

/** How far the reference differs from itself. */
export interface NoiseFloor {
  /** Worst of the variants, per model call of the main setting, in dB. */
  readonly steps: readonly number[];
  readonly mean: number;
  readonly variants: readonly { readonly name: string; readonly mean: number; readonly worst: number }[];
}

/** Optimised against unoptimised session of the candidate. */
export interface Agreement {
  /** Mean and lowest dB over steps. */
  readonly mean: number;
  readonly worst: number;
  readonly maxAbs: number;
  /** At least as close as the candidate is to the reference, or lossless. */
  readonly agrees: boolean;
}

/** Outcome of judging a denoiser along sampled trajectories. Plain data: goes into `report.json` as it is. */
export interface TrajectoryResult {
  readonly kind: "trajectory";
  /** Name of the judged component. */
  readonly component: string;
  /** Where the conditions came from; figures from `synthetic` ones say nothing about quality. */
  readonly conditions: "description" | "npz" | "synthetic" | "none";
  /** Range samples were clipped to; `null` when the pipeline states none and each reference gives its own. */
  readonly sampleRange: readonly [number, number] | null;
  /** First is `main`. */
  readonly settings: readonly SettingResult[];
  readonly noiseFloor: NoiseFloor;
  readonly agreement: Agreement;
  /** Settings that were asked for and could not be run, with the reason. */
  readonly omitted: readonly { readonly setting: SettingName; readonly why: string }[];
}

/** One output of a model compared on fixed inputs. */
export interface OutputComparison {
  readonly name: string;
  readonly maxAbs: number;
  /** Largest absolute error over the largest reference magnitude. */
  readonly maxRel: number;
  readonly sqnr: number;
}

/** Outcome of comparing two models on the same inputs. Plain data. */
export interface InputsResult {
  readonly kind: "inputs";
  /** Input sets compared. */
  readonly sets: number;
  readonly outputs: readonly OutputComparison[];
  readonly maxAbs: number;
  readonly maxRel: number;
  /** Lowest over outputs, dB. */
  readonly sqnr: number;
}

export type VerifyResult = TrajectoryResult | InputsResult;

/** Values this close to the noise floor (dB) are called lossless. */
export const LOSSLESS_DB = 3;
