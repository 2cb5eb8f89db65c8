import type { Diagnostic } from "../diagnostics/index.ts";
import type { Json } from "../ir/tensor.ts";
import type { Decision } from "../passes/pass.ts";
import type { PassReport } from "../passes/runner.ts";

/** A figure before (the original model) and after (the build). */
export interface Change {
  readonly before: number;
  readonly after: number;
}

/** Median seconds of one denoiser run, original and build interleaved. */
export interface Latency extends Change {
  readonly threads: number;
  readonly runs: number;
}

/** One figure per seed, summed up. */
export interface SeedFigure {
  readonly median: number;
  /** 10th percentile: the worst tenth of the seeds lies below. */
  readonly p10: number;
  /** 95 % bootstrap interval of the median. */
  readonly low: number;
  readonly high: number;
}

/** What the build's denoiser costs in fidelity against the original's, over sampled trajectories. */
export interface Fidelity {
  readonly sampler: string;
  readonly steps: number;
  readonly guidance: number;
  readonly seeds: number;
  /** `synthetic` conditions only exercise the model: such figures say nothing about quality. */
  readonly conditions: string;
  readonly timesteps: readonly number[];
  /** Teacher-forced SQNR in dB of the guided output, one figure per step; capped at 120. */
  readonly sqnr: readonly number[];
  /** Mean of the dB over steps, with its 95 % interval over seeds. */
  readonly sqnrMean: number;
  readonly sqnrInterval: readonly [number, number];
  readonly sqnrWorst: number;
  /** Not distinguishable from the runtime's own rounding. */
  readonly lossless: boolean;
  /** PSNR in dB and SSIM of the finished samples against the original's. */
  readonly psnr: SeedFigure;
  readonly ssim: SeedFigure;
  /** SQNR in dB of the conditional minus the unconditional output per step, and whether the build still follows its
   * condition; `null` without an unconditional input. */
  readonly conditioning: { readonly sqnr: readonly number[]; readonly follows: boolean } | null;
  /** Mean SQNR in dB of the original against itself with other threads, batches and optimisations. */
  readonly noiseFloor: number;
}

/** What the build of a component that is not sampled costs: its outputs beside the original's on the same inputs. */
export interface OutputFidelity {
  /** The pipeline's conditions, latents its denoiser finishes, or random numbers, which say less. */
  readonly inputs: "conditions" | "latents" | "seeded";
  /** Input sets compared. */
  readonly sets: number;
  readonly outputs: readonly {
    readonly name: string;
    readonly maxAbs: number;
    /** Largest error over the output's largest magnitude. */
    readonly maxRel: number;
    /** Signal to error in dB over all sets; capped at 120. */
    readonly sqnr: number;
  }[];
  /** Lowest over outputs, dB. */
  readonly sqnr: number;
}

/** How the exact part of a build was proven: largest output error over the output's largest magnitude. */
export interface Exactness {
  readonly component: string;
  readonly error: number;
  readonly limit: number;
  /** `reference` inputs that came with the pipeline, or `seeded` ones. */
  readonly inputs: "reference" | "seeded";
}

/** One pass on one component. */
export interface ComponentPass extends PassReport {
  readonly component: string;
}

/** Estimated time of one run on a machine of the target: never measured. */
export interface Estimate {
  readonly seconds: number;
  /** The machine that stands for the target. */
  readonly machine: string;
  /** What its rates are, and types whose arithmetic has none. */
  readonly basis: string;
  /** Seconds of nodes by what they wait for most. */
  readonly bounds: { readonly arithmetic: number; readonly memory: number; readonly overhead: number };
  /** Bytes read and written. */
  readonly bytes: number;
  /** Operations of products by the type of their operands. */
  readonly flops: { readonly [dtype: string]: number };
  /** Nodes that take longest, longest first. */
  readonly slowest: readonly {
    readonly node: string;
    readonly op: string;
    readonly seconds: number;
    readonly bound: "arithmetic" | "memory" | "overhead";
    readonly bytes: number;
    readonly flops: number;
    /** Type of the operands of a product; `null` for other nodes. */
    readonly dtype: string | null;
  }[];
}

/** One build on the way to a split error budget. */
export interface SplitBuild {
  /** Options per pass; `null` where it was left out. */
  readonly options: { readonly [pass: string]: { readonly [key: string]: Json } | null };
  /** Bytes, operations or estimated seconds; see {@link SplitReport.per}. */
  readonly size: number;
  /** Mean SQNR in dB that the errors of passes alone add up to; `null` where nothing was predicted. */
  readonly predicted: number | null;
  readonly measured: number;
}

/** How one error budget was split over passes, measured on the calibration trajectory. */
export interface SplitReport {
  /** Mean SQNR in dB that had to be left. */
  readonly wanted: number;
  readonly per: "bytes" | "flops" | "latency";
  /** Machine that seconds are estimated on, and where its rates come from; `null` where `per` is not latency. */
  readonly basis: string | null;
  /** False when even leaving all of the passes out costs more. */
  readonly met: boolean;
  /** Index of the build that was taken. */
  readonly chosen: number;
  readonly builds: readonly SplitBuild[];
}

/** What one component of a build is made of. */
export interface ComponentReport {
  readonly name: string;
  readonly file: string;
  readonly bytes: Change;
  readonly nodes: Change;
  /** Floating-point operations of one run at `shape`; `null` when a dim is unknown. */
  readonly flops: Change | null;
  /** Lengths the FLOPs are counted at. */
  readonly shape: { readonly [dim: string]: number };
  /** `null` for targets without rates and where a dim is unknown. */
  readonly estimate: Estimate | null;
  /** Its own outputs judged; `null` for a sampled denoiser, exact builds and what was not run. */
  readonly fidelity: OutputFidelity | null;
  /** `null` unless the recipe splits an error budget. */
  readonly split: SplitReport | null;
}

/** A decision with where it was made. */
export interface Downgrade extends Decision {
  readonly component: string;
  readonly pass: string;
}

/** A written model compared with what its target takes. */
export interface ComponentCheck {
  readonly component: string;
  /** File of the graph where timesteps have graphs of their own; `null` for a single model. */
  readonly graph: string | null;
  /** Findings by rule; nodes with the same finding share a line. */
  readonly findings: readonly {
    readonly rule: string;
    readonly severity: "reject" | "slow" | "numeric";
    readonly why: string;
    readonly nodes: readonly string[];
  }[];
  /** Nodes by where they run. */
  readonly verdicts: { readonly quantized: number; readonly float: number; readonly leaves: number };
  /** Maximal subgraphs that the accelerator runs without a stop in between. */
  readonly partitions: number;
  /** Share of the FLOPs of one run on the accelerator; `null` when a dim is unknown. */
  readonly flopsShare: number | null;
}

/** One target's build. */
export interface TargetReport {
  readonly title: string;
  /** Execution provider to load the build with, and its options. */
  readonly provider: {
    readonly name: string;
    readonly options: { readonly [key: string]: string | number | boolean };
  };
  /** Bytes of all model files of the components. */
  readonly bytes: Change;
  /** FLOPs of one denoiser run; `null` when a dim is unknown. */
  readonly flops: Change | null;
  readonly latency: Latency | null;
  readonly fidelity: Fidelity | null;
  readonly exactness: readonly Exactness[];
  readonly components: readonly ComponentReport[];
  readonly passes: readonly ComponentPass[];
  readonly downgrades: readonly Downgrade[];
  /** Nodes that would not run on the target's accelerator; `null` when that was not looked into. */
  readonly leavesAccelerator:
    | readonly {
        readonly component: string;
        readonly node: string;
        readonly op: string;
        readonly why: string;
      }[]
    | null;
  /** What the checker says of the written models: one per component, and one per graph where it has several. */
  readonly checks: readonly ComponentCheck[];
  /** What was left out and why: a skipped verification, a build that is for size only. */
  readonly notes: readonly string[];
}

/** One checked limit. */
export interface BudgetResult {
  readonly name: string;
  readonly target: string;
  readonly limit: number;
  readonly value: number;
  readonly interval: { readonly low: number; readonly high: number } | null;
  readonly met: boolean;
}

/** `report.json`. */
export interface Report {
  readonly schema: 1;
  readonly diffpress: string;
  readonly onnxruntime: string;
  readonly input: { readonly name: string; readonly sha256: string; readonly bytes: number };
  readonly recipe: { readonly sha256: string };
  readonly seed: number;
  /** Wall seconds of the whole run by the injected clock. */
  readonly seconds: number;
  readonly peakBytes: number;
  readonly targets: { readonly [id: string]: TargetReport };
  readonly budgets: readonly BudgetResult[];
  readonly diagnostics: readonly Diagnostic[];
}
