import type { Dense } from "../ir/evaluator.ts";
import type { Latency } from "../report/types.ts";
import type { Runtime } from "../runtime/index.ts";

/** Threads both sides run with. */
const THREADS = 2;
/** Timed pairs: few, since a build is no benchmark; the median shrugs off two disturbed ones. */
const RUNS = 7;

function median(values: number[]): number {
  const sorted = values.sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

/**
 * Median seconds of one run of two model files on the same inputs, interleaved after one warm-up each, so that a busy
 * machine slows both. `null` when the clock stands still.
 */
export async function compareLatency(options: {
  readonly runtime: Runtime;
  readonly before: string;
  readonly after: string;
  readonly feeds: ReadonlyMap<string, Dense>;
  readonly now: () => number;
}): Promise<Latency | null> {
  const { runtime, feeds, now } = options;
  const sides = [];
  try {
    for (const path of [options.before, options.after])
      sides.push(await runtime.openSession(path, { threads: THREADS }));
    const times: [number[], number[]] = [[], []];
    for (let run = -1; run < RUNS; run++)
      for (const [k, session] of sides.entries()) {
        const start = now();
        await session.run(feeds);
        if (run >= 0) times[k]!.push((now() - start) / 1000);
      }
    const [before, after] = [median(times[0]), median(times[1])];
    return after > 0 ? { before, after, threads: THREADS, runs: RUNS } : null;
  } finally {
    for (const s of sides) await s.release();
  }
}
