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
 * Who runs when in a round: everybody once, starting one further each time, and in the other direction every time all
 * have started. Two models run A B B A; of more, none follows itself, whose weights would still be in the cache, more
 * often than another.
 */
function orderOf(count: number, round: number): number[] {
  const order = Array.from({ length: count }, (_, i) => (i + round) % count);
  return Math.floor(round / count) % 2 === 0 ? order : order.reverse();
}

/** Runs models in turn on the same inputs in this process and returns the seconds of every run, model by model. */
export async function interleaveAll(input: TimeInput): Promise<number[][]> {
  const sessions = [];
  for (const path of input.models) sessions.push(await defaultSession(path, input.threads));
  // The first names the dims: tools that rewrite a model often rename them, and every model has to do the same work.
  const feeds = seededFeeds(sessions[0]!, input.dims);
  const seconds: number[][] = sessions.map(() => []);
  for (let run = -input.warmup; run < input.runs; run++) {
    for (const i of orderOf(sessions.length, run + input.warmup)) {
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
