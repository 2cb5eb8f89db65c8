import { DTYPES } from "../../ir/dtype.ts";
import type { Dense } from "../../ir/evaluator.ts";
import { createRng } from "../../numeric/rng.ts";
import type { PortType } from "../../runtime/index.ts";
import { denseFrom, numbersOf } from "../dense.ts";

/** How far timesteps are moved. */
export interface Jitter {
  /** Share of the distance to the neighbouring timestep, 0 to 1. */
  readonly amount: number;
  readonly timesteps: readonly number[];
  readonly seed: number;
}

/** A seeded timestep near that of a call, never negative and never beyond its neighbours. */
export function jitteredTimestep({ amount, timesteps, seed }: Jitter, call: number, group: number): number {
  const t = timesteps[call]!;
  const u = 2 * createRng(seed, "jitter", call, group).float() - 1;
  const other = timesteps[u < 0 === timesteps[0]! > timesteps[timesteps.length - 1]! ? call + 1 : call - 1];
  const span = Math.abs((other ?? t) - t);
  return Math.max(0, t + amount * u * span);
}

/** Feeds with the timestep replaced. */
export function withTimestep(
  feeds: ReadonlyMap<string, Dense>,
  port: PortType,
  timestep: number,
): ReadonlyMap<string, Dense> {
  const old = feeds.get(port.name)!;
  const { kind } = DTYPES[old.dtype];
  const t = kind === "int" || kind === "uint" ? Math.round(timestep) : timestep;
  return new Map(feeds).set(port.name, denseFrom(old.dtype, old.dims, numbersOf(old).fill(t)));
}
