import type { CallErrors, Oracle } from "../../calibrate/statistics/types.ts";
import { graphCost } from "../../ir/cost.ts";
import type { Model } from "../../ir/graph.ts";
import { modelBytes } from "../../ir/weights.ts";
import { findPass } from "../../passes/index.ts";
import { recordedLengths } from "../../passes/recorded-lengths.ts";
import type { SplitReport } from "../../report/types.ts";
import { basisOf } from "../../targets/cost/basis.ts";
import { rooflineCost } from "../../targets/cost/roofline.ts";
import { type ChainOptions, type ChainResult, runChain } from "../build.ts";
import type { PlannedPass } from "../plan.ts";
import { type Combination, expected, keyOf, meanDecibel, type SplitProblem, smallest } from "./choose.ts";
import { passesAt, type SplitPlan } from "./plan.ts";

/** Combinations tried once every level is measured alone. */
const TRIALS = 8;

/** What a build is made small in: bytes of its weights, operations of a run, or estimated seconds of one. */
function sizeOf(plan: SplitPlan, model: Model, oracle: Oracle): number {
  if (plan.per === "bytes") return modelBytes(model);
  const bindings = recordedLengths({ model, oracle });
  return plan.per === "flops"
    ? graphCost(model, { bindings }).flops
    : rooflineCost(model, plan.target, { bindings })!.seconds;
}

/** Where estimated seconds come from; `null` where something else is made small. */
function basisFor({ per, target }: SplitPlan, model: Model, oracle: Oracle): string | null {
  if (per !== "latency") return null;
  const { uncounted } = rooflineCost(model, target, { bindings: recordedLengths({ model, oracle }) })!;
  return basisOf(target.machine!, uncounted);
}

interface Trial extends Combination {
  /** What the levels alone promised, in dB; `null` for those measured alone. */
  readonly predicted: number | null;
}

/** Chain and figures of the split that was chosen. */
export interface SplitResult {
  readonly chain: ChainResult;
  readonly report: SplitReport;
}

/**
 * Splits one error budget over passes: every level of every ladder is built and measured alone on the original's recorded
 * trajectory, the smallest combination that should keep the budget is built and measured, and what it came to corrects
 * the expectation of the others, until the smallest one is known to keep it. Errors: those of the passes.
 */
export async function splitBudget(
  start: Model,
  passes: readonly PlannedPass[],
  plan: SplitPlan,
  options: ChainOptions,
): Promise<SplitResult | null> {
  const oracle = await options.oracle();
  if (oracle === null) return null;
  const { ladders } = plan;
  // Exact passes before the first lossy one are the same in every build.
  const first = passes.findIndex((p) => findPass(p.pass)?.effect === "lossy");
  const quiet = { ...options, onEvent: () => {}, counter: { done: 0, total: 0 } };
  const before = await runChain(start, passes.slice(0, first), quiet);
  const rest = passes.slice(first);
  const trail = [...options.trail, ...before.passes.map((p) => p.name)];
  const trials: Trial[] = [];
  const known = new Map<string, Trial>();
  let signal = new Float64Array();
  let best: { readonly trial: Trial; readonly chain: ChainResult } | null = null;

  async function tried(levels: readonly number[], predicted: number | null): Promise<Trial> {
    options.onEvent({
      kind: "stage",
      target: options.target?.id ?? null,
      component: options.component,
      stage: `splitting the error budget, build ${trials.length + 1}`,
      step: options.counter.done,
      steps: options.counter.total,
    });
    const behind = await runChain(before.model, passesAt(rest, ladders, levels), { ...quiet, trail });
    const chain: ChainResult = { ...behind, passes: [...before.passes, ...behind.passes] };
    const errors: CallErrors = await oracle!.errors(chain.model);
    signal = errors.signal as Float64Array<ArrayBuffer>;
    const trial: Trial = {
      levels,
      size: sizeOf(plan, chain.model, oracle!),
      noise: errors.noise,
      db: meanDecibel(errors.noise, errors.signal),
      predicted,
    };
    trials.push(trial);
    known.set(keyOf(levels), trial);
    const fits = trial.db >= plan.sqnr;
    if (best === null || (fits && (best.trial.db < plan.sqnr || trial.size < best.trial.size)))
      best = { trial, chain };
    return trial;
  }

  const none = ladders.map(() => -1);
  const base = await tried(none, null);
  const alone: Trial[][] = [];
  for (const [i, ladder] of ladders.entries()) {
    const own: Trial[] = [];
    for (const level of ladder.levels.keys()) own.push(await tried(none.with(i, level), null));
    alone.push(own);
  }
  const problem: SplitProblem = { base, alone, signal, wanted: plan.sqnr };
  let correction = new Float64Array(signal.length).fill(1);
  for (let t = 0; t < TRIALS; t++) {
    const next = smallest(problem, known, correction);
    if (known.has(keyOf(next.levels))) break;
    const found = await tried(next.levels, next.db);
    const plain = expected(problem, next.levels, new Float64Array(signal.length).fill(1));
    correction = correction.map((_, k) => found.noise[k]! / Math.max(plain.noise[k]!, Number.MIN_VALUE));
  }
  options.counter.done += passes.length;
  const { trial, chain } = best!;
  const at = (t: Trial) =>
    Object.fromEntries(
      ladders.map((l, i) => [l.pass, t.levels[i]! < 0 ? null : l.levels[t.levels[i]!]!.given]),
    );
  return {
    chain,
    report: {
      wanted: plan.sqnr,
      per: plan.per,
      basis: basisFor(plan, chain.model, oracle),
      met: trial.db >= plan.sqnr,
      chosen: trials.indexOf(trial),
      builds: trials.map((t) => ({ options: at(t), size: t.size, predicted: t.predicted, measured: t.db })),
    },
  };
}
