import { type Spread, spreadOf } from "./positions.ts";
import type { Unfold } from "./types.ts";
import { viewOf, windowOf } from "./view.ts";

/** Per-channel extremes and means of a value. */
export interface MomentsProbe {
  readonly kind: "moments";
  readonly value: string;
  readonly axis: number | null;
  /** Also the mean of squares. */
  readonly square: boolean;
}

/** Positions of a value with all their channels, or their Gram. */
export interface PositionsProbe {
  readonly kind: "positions";
  readonly value: string;
  readonly axis: number | null;
  readonly unfold: Unfold | null;
  /** Positions wanted of one run; `Infinity` for all. */
  readonly wanted: number;
  /** Sum x xᵀ inside the graph where that is smaller than the rows themselves. */
  readonly gram: boolean;
}

export type Probe = MomentsProbe | PositionsProbe;

/** What a positions probe gives for a value of known dims. */
export interface PositionsShape {
  readonly spread: Spread;
  /** Positions of one run. */
  readonly rows: number;
  /** Length of one position. */
  readonly size: number;
  /** The graph returns the Gram `[size × size]` and the mean `[size]` of the rows in place of the rows. */
  readonly reduced: boolean;
}

/** Geometry of a positions probe. */
export function positionsShape(probe: PositionsProbe, dims: readonly number[]): PositionsShape {
  const window = probe.unfold === null ? null : windowOf(dims, probe.unfold);
  const { before, channels, after } =
    window === null
      ? viewOf(dims, probe.axis)
      : { before: window.batch, channels: window.channels, after: window.outHeight * window.outWidth };
  const spread = spreadOf(before, after, probe.wanted);
  const rows = (spread.before ?? before) * (spread.after ?? after);
  const size = channels * (window?.taps ?? 1);
  return { spread, rows, size, reduced: probe.gram && rows > size };
}

/** Numbers a probe adds to the output of one run. */
export function probeLength(probe: Probe, dims: readonly number[]): number {
  if (probe.kind === "moments") return viewOf(dims, probe.axis).channels * (probe.square ? 4 : 3);
  const { rows, size, reduced } = positionsShape(probe, dims);
  return reduced ? size * size + size : rows * size;
}
