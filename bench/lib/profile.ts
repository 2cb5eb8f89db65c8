import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

interface TraceEvent {
  readonly cat: string;
  readonly name: string;
  readonly dur: number;
}

const KERNEL = "_kernel_time";

/**
 * Seconds per node from a profile onnxruntime wrote with this prefix: the mean of the faster half of the runs, which other
 * work on the machine disturbs little and which tells nodes apart that whole microseconds of the profile do not.
 */
export function nodeSeconds(prefix: string): Map<string, number> {
  const folder = dirname(prefix);
  const file = readdirSync(folder).find((f) => f.startsWith(basename(prefix)));
  if (file === undefined) throw new Error(`onnxruntime wrote no profile ${prefix}`);
  const events = JSON.parse(readFileSync(join(folder, file), "utf8")) as TraceEvent[];
  const times = new Map<string, number[]>();
  for (const e of events) {
    if (e.cat !== "Node" || !e.name.endsWith(KERNEL)) continue;
    const name = e.name.slice(0, -KERNEL.length);
    const list = times.get(name);
    if (list === undefined) times.set(name, [e.dur]);
    else list.push(e.dur);
  }
  const out = new Map<string, number>();
  for (const [name, list] of times) {
    const fast = list.sort((a, b) => a - b).slice(0, Math.ceil(list.length / 2));
    out.set(name, fast.reduce((a, b) => a + b, 0) / fast.length / 1e6);
  }
  return out;
}

/** Ranks of values, ties averaged. */
function ranks(x: readonly number[]): number[] {
  const order = x.map((_, i) => i).sort((a, b) => x[a]! - x[b]!);
  const out = new Array<number>(x.length);
  for (let i = 0; i < order.length; ) {
    let j = i;
    while (j + 1 < order.length && x[order[j + 1]!] === x[order[i]!]) j++;
    for (let k = i; k <= j; k++) out[order[k]!] = (i + j) / 2;
    i = j + 1;
  }
  return out;
}

/** Spearman's rank correlation of two lists. */
export function rankCorrelation(a: readonly number[], b: readonly number[]): number {
  const [x, y] = [ranks(a), ranks(b)];
  const mean = (x.length - 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  for (const [i, r] of x.entries()) {
    const [dx, dy] = [r - mean, y[i]! - mean];
    xy += dx * dy;
    xx += dx * dx;
    yy += dy * dy;
  }
  return xy / Math.sqrt(xx * yy);
}
