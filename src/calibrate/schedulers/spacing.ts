import { fail } from "../../diagnostics/index.ts";

/** Rounds halves to even, as array libraries do; `Math.round` would shift every other midpoint. */
export function roundHalfEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest !== 0.5) return Math.round(x);
  return below % 2 === 0 ? below : below + 1;
}

/** `count` equally spaced numbers, both ends included. */
export function linspace(start: number, end: number, count: number): Float64Array {
  const step = count > 1 ? (end - start) / (count - 1) : 0;
  return Float64Array.from({ length: count }, (_, i) =>
    i === count - 1 && count > 1 ? end : start + step * i,
  );
}

export interface SpacingOptions {
  readonly spacing: "leading" | "trailing" | "linspace";
  /** Training timesteps `T`. */
  readonly train: number;
  readonly steps: number;
  readonly offset: number;
  /** Multistep solvers place one point more and drop the cleanest. */
  readonly extra?: 0 | 1;
  /** Keep fractional timesteps with `linspace`. */
  readonly fractional?: boolean;
  /** Last usable training timestep plus one, below `T` when lambda is clipped. */
  readonly limit?: number;
}

/**
 * Descending timesteps (Lin et al. 2023, table 2). `linspace`: both ends of the training range; `leading`: multiples
 * of `T / steps` plus the offset; `trailing`: counted down from the end.
 */
export function spacedTimesteps(o: SpacingOptions): Float64Array {
  const extra = o.extra ?? 0;
  const limit = o.limit ?? o.train;
  const impossible = (problem: string, remedy: string): never =>
    fail("SCHEDULE_IMPOSSIBLE", { sampler: `${o.spacing} spacing`, steps: o.steps, problem, remedy });
  if (o.steps + extra > limit) {
    impossible(`the schedule has ${limit} training timesteps`, `ask for at most ${limit - extra}`);
  }
  const top = (o.steps + extra - 1) * Math.floor(limit / (o.steps + extra)) + o.offset;
  if (o.spacing === "leading" && top >= o.train) {
    impossible(
      `they start at timestep ${top} with steps_offset ${o.offset}, past the last, ${o.train - 1}`,
      "ask for fewer steps or a smaller steps_offset",
    );
  }
  switch (o.spacing) {
    case "linspace": {
      const points = linspace(0, limit - 1, o.steps + extra).reverse();
      const kept = points.subarray(0, o.steps);
      return o.fractional === true ? kept.slice() : kept.map(roundHalfEven);
    }
    case "leading": {
      const ratio = Math.floor(limit / (o.steps + extra));
      return Float64Array.from({ length: o.steps }, (_, i) => (o.steps + extra - 1 - i) * ratio + o.offset);
    }
    case "trailing": {
      const ratio = o.train / o.steps;
      const count = Math.ceil(limit / ratio - 1e-9);
      return Float64Array.from({ length: count }, (_, i) => roundHalfEven(limit - i * ratio) - 1);
    }
  }
}
