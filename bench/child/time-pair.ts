import { setTimeout as pause } from "node:timers/promises";
import { type Dims, defaultSession, seededFeeds } from "../lib/feeds.ts";

/** Child process: runs models in turn, A B B A, and prints the seconds of every run. */
export interface TimeInput {
  readonly models: readonly string[];
  readonly threads: number;
  readonly dims: Dims;
  readonly warmup: number;
  readonly runs: number;
}

/** Idle time between runs: the thread pool of the session that ran last stops spinning within it. */
const SETTLE_MS = 8;

const input = JSON.parse(process.argv[2] ?? "{}") as TimeInput;
const sessions = [];
for (const path of input.models) sessions.push(await defaultSession(path, input.threads));
const feeds = sessions.map((s) => seededFeeds(s, input.dims));
const seconds: number[][] = sessions.map(() => []);
for (let run = -input.warmup; run < input.runs; run++) {
  const order = sessions.map((_, i) => i);
  if (run % 2 !== 0) order.reverse();
  for (const i of order) {
    await pause(SETTLE_MS);
    const start = performance.now();
    await sessions[i]!.run(feeds[i]!);
    const took = (performance.now() - start) / 1000;
    if (run >= 0) seconds[i]!.push(took);
  }
}
console.log(JSON.stringify(seconds));
