import type { CallErrors, Oracle } from "../../../calibrate/statistics/types.ts";
import type { Model } from "../../../ir/graph.ts";
import { ratioDb } from "../../../numeric/energy.ts";
import type { FidelityFloor } from "../../fidelity-floor.ts";
import type { SitePlan } from "./plan.ts";

/** A site that could be quantized, what it would save, and what it alone costs. */
export interface Candidate {
  readonly plan: SitePlan;
  /** Estimated seconds saved per run. */
  readonly gain: number;
  readonly alone: CallErrors;
}

/** What was chosen. */
export interface Choice {
  readonly kept: readonly Candidate[];
  readonly dropped: readonly Candidate[];
  /** Measured with all kept sites together; `null` when nothing is kept. */
  readonly together: CallErrors | null;
  /** Measured noise over the sum of what the kept sites cost alone: 1 where damages add up. */
  readonly additivity: number;
}

/** Calls that damages are measured on: the ends of the trajectory, where damage peaks, and some between. */
export const MEASURED_CALLS = 6;
/** Rounds of dropping and measuring again. */
const ROUNDS = 6;

function noiseOf(candidates: readonly Candidate[], calls: number): Float64Array {
  const sum = new Float64Array(calls);
  for (const c of candidates) for (const [t, n] of c.alone.noise.entries()) sum[t] = sum[t]! + n;
  return sum;
}

/** What each call's noise weighs for the goals that are missed: the slope of its decibels. `null`: all goals are met. */
function slopes(signal: Float64Array, noise: Float64Array, floor: FidelityFloor): Float64Array | null {
  const db = Array.from(signal, (s, t) => ratioDb(s, noise[t]!));
  const mean = db.reduce((a, b) => a + b, 0) / db.length;
  const out = new Float64Array(db.length);
  let missed = false;
  if (mean < floor.mean) {
    missed = true;
    for (let t = 0; t < out.length; t++) out[t] = out[t]! + 1 / noise[t]! / out.length;
  }
  for (const [t, d] of db.entries())
    if (d < floor.worst) {
      missed = true;
      out[t] = out[t]! + 1 / noise[t]!;
    }
  return missed ? out : null;
}

/** Takes away sites, the most damage per second first, until the predicted noise meets the floor. */
function drop(
  kept: Candidate[],
  signal: Float64Array,
  factor: Float64Array,
  floor: FidelityFloor,
): Candidate[] {
  const dropped: Candidate[] = [];
  while (kept.length > 0) {
    const noise = noiseOf(kept, signal.length).map((n, t) => n * factor[t]!);
    const weight = slopes(signal, noise, floor);
    if (weight === null) break;
    const price = (c: Candidate): number =>
      c.alone.noise.reduce((sum, n, t) => sum + n * factor[t]! * weight[t]!, 0) / Math.max(c.gain, 1e-9);
    let worst = 0;
    for (let i = 1; i < kept.length; i++) if (price(kept[i]!) > price(kept[worst]!)) worst = i;
    dropped.push(...kept.splice(worst, 1));
  }
  return giveBack(kept, dropped, { signal, factor, floor });
}

/** Keeps what turns out to fit after all: a large drop may leave room for several that went before it. */
function giveBack(
  kept: Candidate[],
  dropped: readonly Candidate[],
  o: { readonly signal: Float64Array; readonly factor: Float64Array; readonly floor: FidelityFloor },
): Candidate[] {
  const gone: Candidate[] = [];
  for (const c of [...dropped].sort((a, b) => b.gain - a.gain)) {
    const noise = noiseOf([...kept, c], o.signal.length).map((n, t) => n * o.factor[t]!);
    if (slopes(o.signal, noise, o.floor) === null) kept.push(c);
    else gone.push(c);
  }
  return gone;
}

/**
 * Chooses which sites stay quantized so that the network's output keeps a fidelity, giving up as little speed as it can.
 * Noise energies of single sites are added up to predict; the choice is then measured as a whole, the prediction
 * corrected by what was found, and more sites dropped while the floor is missed. `build` makes the model with some sites
 * quantized.
 */
export async function chooseSites(
  candidates: readonly Candidate[],
  floor: FidelityFloor,
  o: {
    readonly oracle: Oracle;
    readonly calls: readonly number[];
    readonly build: (plans: readonly SitePlan[]) => Model;
  },
): Promise<Choice> {
  const kept = [...candidates];
  const dropped: Candidate[] = [];
  let together: CallErrors | null = null;
  let additivity = 1;
  const [first] = candidates;
  if (first === undefined) return { kept, dropped, together, additivity };
  const { signal } = first.alone;
  let factor = new Float64Array(signal.length).fill(1);
  for (let round = 0; round < ROUNDS; round++) {
    const gone = drop(kept, signal, factor, floor);
    dropped.push(...gone);
    if (kept.length === 0) return { kept, dropped, together: null, additivity };
    if (gone.length === 0 && together !== null) break;
    together = await o.oracle.errors(o.build(kept.map((c) => c.plan)), o.calls);
    const predicted = noiseOf(kept, signal.length);
    const found = together.noise;
    factor = predicted.map((p, t) => (p > 0 ? found[t]! / p : 1));
    additivity = found.reduce((a, b) => a + b, 0) / predicted.reduce((a, b) => a + b, 0);
  }
  return { kept, dropped, together, additivity };
}
