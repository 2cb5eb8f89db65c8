import { runScript } from "./child.ts";
import type { Dims } from "./feeds.ts";
import type { TimeInput } from "./interleave.ts";
import { median, medianRatio } from "./stats.ts";

/** Original against build: seconds a run and how many times faster the build is. */
export interface PairResult {
  readonly original: number;
  readonly build: number;
  /** Median of original / build over neighbouring runs, with its 95 % interval. */
  readonly speedup: { readonly median: number; readonly low: number; readonly high: number };
  readonly runs: number;
  readonly peakBytes: number;
}

/** Options of an interleaved comparison. */
export interface PairOptions {
  readonly original: string;
  readonly build: string;
  readonly dims: Dims;
  readonly threads: number;
  readonly warmup: number;
  readonly runs: number;
}

function summarise(a: readonly number[], b: readonly number[], peakBytes: number): PairResult {
  return { original: median(a), build: median(b), speedup: medianRatio(a, b), runs: a.length, peakBytes };
}

/** Both sessions in one process, runs alternating. */
export async function interleave(o: PairOptions): Promise<PairResult> {
  const input: TimeInput = { ...o, models: [o.original, o.build] };
  const { value, measured } = await runScript<number[][]>("time-pair.ts", input);
  return summarise(value[0]!, value[1]!, measured.peakBytes);
}
