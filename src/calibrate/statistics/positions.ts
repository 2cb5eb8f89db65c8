import { createRng } from "../../numeric/rng.ts";

/** How many places before and after the channel axis are looked at; `null` looks at all of them. */
export interface Spread {
  readonly before: number | null;
  readonly after: number | null;
}

/**
 * The smallest grid of places that holds at least `wanted` positions: every place before the channel axis (samples and
 * guidance halves) as long as there are enough positions for each, and as many places after it as needed.
 */
export function spreadOf(before: number, after: number, wanted: number): Spread {
  if (wanted >= before * after) return { before: null, after: null };
  if (wanted < before) return { before: Math.max(1, wanted), after: after === 1 ? null : 1 };
  const each = Math.ceil(wanted / before);
  return { before: null, after: each >= after ? null : each };
}

/** What a draw of places depends on. */
export interface Draw {
  readonly seed: number;
  readonly call: number;
  /** Run of the model within the call. */
  readonly run: number;
}

/**
 * `count` different places of `extent`, ascending. They change from run to run, so that few positions a run cover the
 * whole plane, and depend on nothing but the arguments: every value of one extent is seen at the same places.
 */
export function drawPlaces(draw: Draw, extent: number, count: number): Int32Array {
  const rng = createRng(draw.seed, "positions", extent, count, draw.call, draw.run);
  const places = Int32Array.from({ length: extent }, (_, i) => i);
  for (let i = 0; i < count; i++) {
    const j = i + rng.int(extent - i);
    const kept = places[i]!;
    places[i] = places[j]!;
    places[j] = kept;
  }
  return places.slice(0, count).sort();
}
