import type { Damage } from "../../../calibrate/switchboard.ts";
import type { Bench } from "./measure.ts";
import { meanDb } from "./solve.ts";

/** Share of the content metric in an objective, from 0 (quality alone) to 1 (content alone). */
export type Mix = number;

/**
 * What allocations are scored by. `quality`: the guided output; `content`: what the condition does; `both`: several
 * mixtures are solved, and the best in quality is taken whose content is not much behind the best. One number for both
 * at once made mixed precision worse than none in MixDQ (Zhao et al. 2024), which keeps them apart as well.
 */
export type Metric = "quality" | "content" | "both";

const MIXES: Readonly<Record<Metric, readonly Mix[]>> = {
  quality: [0],
  content: [1],
  both: [0, 0.25, 0.5, 0.75],
};

/** The mixtures a metric tries; without a condition there is only quality. */
export function mixesOf(metric: Metric, bench: Bench): readonly Mix[] {
  return bench.signal.content === null ? [0] : MIXES[metric];
}

/** Quality of every call, then content of every call, as one row of places. */
export function places(d: Damage): Float64Array {
  if (d.content === null) return d.quality;
  const out = new Float64Array(d.quality.length + d.content.length);
  out.set(d.quality);
  out.set(d.content, d.quality.length);
  return out;
}

/** Weights of the places under a mixture; they sum to 1. Places without a signal do not count. */
export function placeWeights(bench: Bench, mix: Mix): Float64Array {
  const { quality, content } = bench.signal;
  const share = (signal: Float64Array, part: number): number[] => {
    const seen = Array.from(signal, (s, i) => (s > 0 ? bench.weights[i]! : 0));
    const sum = seen.reduce((a, b) => a + b, 0);
    return seen.map((w) => (sum > 0 ? (part * w) / sum : 0));
  };
  return Float64Array.from([
    ...share(quality, content === null ? 1 : 1 - mix),
    ...(content === null ? [] : share(content, mix)),
  ]);
}

/** Mean dB of a measured damage in one metric; `null` for the content of a network without condition. */
export function metricDb(bench: Bench, d: Damage, metric: "quality" | "content"): number | null {
  if (metric === "content" && d.content === null) return null;
  return meanDb(places(d), places(bench.signal), placeWeights(bench, metric === "content" ? 1 : 0));
}
