import type { Slot } from "./observe.ts";
import { viewOf } from "./view.ts";

/** Per-call and per-channel extremes and sums of one value, float64. */
export interface Moments {
  readonly channels: number;
  readonly min: Float64Array;
  readonly max: Float64Array;
  /** Σ x and Σ x² until divided. */
  readonly sum: Float64Array;
  readonly squares: Float64Array;
  /** Elements behind an entry of each call. */
  readonly count: Float64Array;
  /** Runs in which some element was not finite. */
  notFinite: number;
}

/** Empty moments. */
export function createMoments(calls: number, channels: number): Moments {
  const array = (fill: number): Float64Array => new Float64Array(calls * channels).fill(fill);
  return {
    channels,
    min: array(Number.POSITIVE_INFINITY),
    max: array(Number.NEGATIVE_INFINITY),
    sum: array(0),
    squares: array(0),
    count: new Float64Array(calls),
    notFinite: 0,
  };
}

/**
 * Adds one run's answer to a moments probe. A channel with an infinity or a NaN gets infinite extremes for good;
 * minimum and maximum may pass over NaN, the mean does not.
 */
export function addMoments(into: Moments, call: number, slot: Slot, answers: Float32Array): void {
  if (slot.probe.kind !== "moments") throw new Error("the slot holds no moments");
  const { channels } = into;
  const { before, after } = viewOf(slot.dims, slot.probe.axis);
  const positions = before * after;
  let bad = false;
  for (let c = 0; c < channels; c++) {
    const at = slot.offset + c;
    const low = answers[at]!;
    const high = answers[at + channels]!;
    const mean = answers[at + 2 * channels]!;
    const entry = call * channels + c;
    const finite = Number.isFinite(low) && Number.isFinite(high) && !Number.isNaN(mean);
    bad ||= !finite;
    into.min[entry] = finite ? Math.min(into.min[entry]!, low) : Number.NEGATIVE_INFINITY;
    into.max[entry] = finite ? Math.max(into.max[entry]!, high) : Number.POSITIVE_INFINITY;
    into.sum[entry]! += mean * positions;
    if (slot.probe.square) into.squares[entry]! += answers[at + 3 * channels]! * positions;
  }
  into.count[call]! += positions;
  if (bad) into.notFinite++;
}
