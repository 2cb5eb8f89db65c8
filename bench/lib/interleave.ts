import { setTimeout as pause } from "node:timers/promises";
import { type Dims, defaultSession, seededFeeds } from "./feeds.ts";

/** Models to run in turn. */
export interface TimeInput {
  readonly models: readonly string[];
  readonly threads: number;
  readonly dims: Dims;
  readonly warmup: number;
  readonly runs: number;
}

/** Idle time between runs: the thread pool of the session that ran last stops spinning within it. */
const SETTLE_MS = 8;

/**
 * Runs models in turn on the same inputs in this process, A B B A, and returns the seconds of every run, model by model.
 */
export async function interleaveAll(input: TimeInput): Promise<number[][]> {
  const sessions = [];
  for (const path of input.models) sessions.push(await defaultSession(path, input.threads));
  // The first names the dims: tools that rewrite a model often rename them, and every model has to do the same work.
  const feeds = seededFeeds(sessions[0]!, input.dims);
  const seconds: number[][] = sessions.map(() => []);
  for (let run = -input.warmup; run < input.runs; run++) {
    const order = sessions.map((_, i) => i);
    if (run % 2 !== 0) order.reverse();
    for (const i of order) {
      await pause(SETTLE_MS);
      const start = performance.now();
      await sessions[i]!.run(feeds);
      const took = (performance.now() - start) / 1000;
      if (run >= 0) seconds[i]!.push(took);
    }
  }
  for (const session of sessions) await session.release();
  return seconds;
}
