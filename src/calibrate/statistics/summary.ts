import type { StatisticsArtifact } from "./artifact.ts";
import type { TeacherSettings } from "./teacher.ts";
import type { ValueStatistics } from "./types.ts";

/** What an artifact says about one value. */
export interface ValueSummary {
  readonly name: string;
  readonly channels: number;
  readonly min: number;
  readonly max: number;
  /** Largest over smallest absolute maximum of the calls: how far the range moves with the timestep. */
  readonly rangeRatio: number;
  /** Largest over median absolute maximum of the channels, at the worst call. */
  readonly outlierRatio: number;
}

/** What an artifact says about the Gram of one layer. */
export interface GramSummary {
  readonly layer: string;
  readonly size: number;
  readonly positions: number;
  readonly rank: number;
  readonly exact: boolean;
}

/** An artifact in numbers people can read. */
export interface StatisticsSummary {
  readonly source: string;
  readonly settings: TeacherSettings;
  readonly calls: number;
  readonly values: readonly ValueSummary[];
  readonly grams: readonly GramSummary[];
}

/** Absolute maxima `calls × channels`. */
function magnitudes(v: ValueStatistics): Float64Array {
  return v.max.map((high, i) => Math.max(Math.abs(high), Math.abs(v.min[i]!)));
}

/** Ratio of two magnitudes; 1 where both are 0, infinite where only the lower one is. */
function over(high: number, low: number): number {
  return high === low ? 1 : high / low;
}

function valueSummary(v: ValueStatistics): ValueSummary {
  const all = magnitudes(v);
  const calls: number[] = [];
  let outlierRatio = 1;
  for (let from = 0; from < all.length; from += v.channels) {
    const channels = all.slice(from, from + v.channels).sort();
    const top = channels[channels.length - 1]!;
    calls.push(top);
    outlierRatio = Math.max(outlierRatio, over(top, channels[v.channels >> 1]!));
  }
  return {
    name: v.name,
    channels: v.channels,
    min: v.min.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY),
    max: v.max.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY),
    rangeRatio: over(Math.max(...calls), Math.min(...calls)),
    outlierRatio,
  };
}

/** Summarises an artifact, in its order. */
export function summarise(artifact: StatisticsArtifact): StatisticsSummary {
  const { statistics, request, settings, source } = artifact;
  return {
    source,
    settings,
    calls: statistics.calls.length,
    values: request.values.flatMap(({ name }) => {
      const v = statistics.value(name);
      return v === undefined ? [] : [valueSummary(v)];
    }),
    grams: request.grams.flatMap(({ layer }) => {
      const g = statistics.gram(layer);
      if (g === undefined) return [];
      const { size, rank, exact } = g;
      return [{ layer, size, positions: g.positions.reduce((a, b) => a + b, 0), rank, exact }];
    }),
  };
}
