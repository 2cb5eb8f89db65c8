import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { isGraphSet } from "../../src/runtime/index.ts";
import { runNode } from "./child.ts";
import type { Dims } from "./feeds.ts";

/** Setting the limits of quantized builds are stated for: 24 seeds, 16 rows a run (8 samples, both guidance halves), one thread. */
export const JUDGE_DEFAULTS = {
  seeds: 24,
  batch: 8,
  runs: 40,
  warmup: 4,
  threads: 1,
  dims: { batch_size: 16, steps: 1, height: 16, width: 16, sequence_length: 8 },
} as const;

/** What `bench/child/judge.ts` is asked: which denoiser files to judge against which pipeline, and how. */
export interface JudgeInput {
  /** Folder of the original pipeline; its sampling description gives steps, guidance and conditions. */
  readonly pipeline: string;
  /** Denoiser files with the original's inputs and output, or folders of builds (`OUT/cpu-x64`). */
  readonly models: readonly string[];
  /** Judging seeds; 0 leaves fidelity out. */
  readonly seeds?: number;
  /**
   * Samples run together while judging. It matters to builds that quantize dynamically: their scales are taken over the
   * whole batch.
   */
  readonly batch?: number;
  /** Timed runs of every file; 0 leaves speed out. */
  readonly runs?: number;
  readonly warmup?: number;
  readonly threads?: number;
  /** Lengths of symbolic dims of the timed runs. */
  readonly dims?: Dims;
  /** Also `timesteps` and `curve`, the teacher-forced SQNR of every step. */
  readonly steps?: boolean;
}

/** One judged file: dB of the guided output and of finished samples, and how fast it ran. */
export interface Judged {
  readonly model: string;
  /** The file and its external data. */
  readonly bytes: number;
  readonly fidelity: {
    /** Mean over steps and the worst step of the teacher-forced SQNR. */
    readonly sqnrMean: number;
    readonly sqnrWorst: number;
    readonly worstTimestep: number;
    readonly psnrMedian: number;
    readonly psnrP10: number;
    readonly seeds: number;
    /** The build still follows its condition; `null` without guidance. */
    readonly follows: boolean | null;
    /** Optimised and unoptimised sessions agree: at least as close to each other as the build is to the original. */
    readonly agrees: boolean;
    readonly agreement: number;
    readonly timesteps?: readonly number[];
    readonly curve?: readonly number[];
  } | null;
  readonly speed: {
    /** Median seconds of a run. */
    readonly seconds: number;
    readonly originalSeconds: number;
    /** Median of original / build over neighbouring runs with its 95 % interval; above 1 the build is faster. */
    readonly ratio: number;
    readonly low: number;
    readonly high: number;
    readonly runs: number;
  } | null;
}

/**
 * Bytes of a model file and of the external data beside it, under the names exporters and this project use; of a graph
 * set those of all its files.
 */
export function modelFileBytes(path: string): number {
  if (isGraphSet(path)) {
    const folder = dirname(path);
    const files = readdirSync(folder).filter((f) => f.startsWith("model."));
    return files.reduce((sum, f) => sum + statSync(join(folder, f)).size, 0);
  }
  return [path, `${path}.data`, `${path}_data`]
    .filter((p) => existsSync(p))
    .reduce((sum, p) => sum + statSync(p).size, 0);
}

/** Judges files in a process of its own; every file is timed in the same interleaved run. */
export async function judgeModels(input: JudgeInput): Promise<Judged[]> {
  const { stdout } = await runNode([
    "--import",
    "tsx",
    "bench/child/judge.ts",
    "--json",
    JSON.stringify(input),
  ]);
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Judged);
}
