import type { CallErrors } from "../../calibrate/statistics/types.ts";
import { cloneModel } from "../../ir/clone.ts";
import { type Model, opKey } from "../../ir/graph.ts";
import { inferShapes } from "../../ir/infer.ts";
import { hasTrait } from "../../ir/ops/index.ts";
import { modelBytes } from "../../ir/weights.ts";
import { ratioDb } from "../../numeric/energy.ts";
import { basisOf } from "../../targets/cost/basis.ts";
import { rooflineCost } from "../../targets/cost/roofline.ts";
import { type FidelityFloor, floorText, shortfall, spreadCalls, TRIAL_BYTES } from "../fidelity-floor.ts";
import type { PassContext } from "../pass.ts";
import { recordedLengths } from "../recorded-lengths.ts";
import { FloatFlow } from "./flow.ts";

/** Converts a model in place, with some operators kept in fp32. */
export type Convert = (model: Model, ctx: PassContext, precise: ReadonlySet<string>) => void;

/** Calls that fidelity is measured on. */
const MEASURED_CALLS = 12;
/** A gain of fewer dB is noise. */
const LEAST_GAIN = 0.05;
/** Operators that are kept at most: beyond that a graph is more Cast than half. */
const MOST_KEPT = 6;

/** A conversion that was tried. */
interface Trial {
  readonly errors: CallErrors;
  /** Estimated seconds of a run, or where the target has no machine, nodes in fp32. */
  readonly cost: number;
}

/** An operator: the noise per call that goes where it alone stays fp32, and the time that takes. */
interface Operator {
  readonly name: string;
  readonly removes: Float64Array;
  readonly cost: number;
}

const db = (v: number): string => v.toFixed(1);

/** Operators that compute floats during a run, in the order of the graph. */
function operators(model: Model, ctx: PassContext): string[] {
  const flow = new FloatFlow(model.graph, ctx.shapes());
  const found = new Set<string>();
  for (const node of model.graph.nodes())
    if (flow.matters(node) && !hasTrait(node, "moves-data") && node.op !== "Cast") found.add(opKey(node));
  return [...found];
}

/** Nodes that compute in fp32. */
function wideNodes(model: Model): number {
  const flow = new FloatFlow(model.graph, inferShapes(model));
  return [...model.graph.nodes()].filter((n) => n.op !== "Cast" && flow.matters(n)).length;
}

/** A context in which a pass works on a copy and says nothing. */
const trialContext = (ctx: PassContext, model: Model): PassContext => ({
  ...ctx,
  model,
  shapes: () => inferShapes(model),
  decide: () => {},
});

/** Errors with less noise, where noises of operators are taken to be independent: their energies add. */
function without(errors: CallErrors, removes: Float64Array): Pick<CallErrors, "mean" | "worst"> {
  const { signal, noise } = errors;
  // Rounding less cannot undo everything: a tenth is left of what measuring one alone says is gone.
  const sqnr = Array.from(signal, (s, t) => ratioDb(s, Math.max(noise[t]! - removes[t]!, noise[t]! / 10)));
  return { mean: sqnr.reduce((a, b) => a + b, 0) / sqnr.length, worst: Math.min(...sqnr) };
}

/** The operator that should bring a build nearest to the floor for the time it adds; `null` where none helps. */
function mostWorth(left: readonly Operator[], errors: CallErrors, floor: FidelityFloor): Operator | null {
  const missing = shortfall(floor, errors);
  let best: { readonly operator: Operator; readonly worth: number } | null = null;
  for (const operator of left) {
    const gain = missing - shortfall(floor, without(errors, operator.removes));
    const worth = gain / operator.cost;
    if (gain > LEAST_GAIN && (best === null || worth > best.worth)) best = { operator, worth };
  }
  return best?.operator ?? null;
}

/**
 * Operators to keep in fp32 so that a half-precision build keeps a floor on the calibration trajectory, every value
 * rounded as a device would. Each operator is tried alone; that which should repair most for the time it adds comes first,
 * then what is left is looked at again, and what turns out not to be needed goes. Records what was measured and what it
 * cost. Empty where the floor holds anyway, and where nothing can be measured, with the reason.
 */
export async function preciseOperators(
  floor: FidelityFloor,
  ctx: PassContext,
  convert: Convert,
): Promise<ReadonlySet<string>> {
  const { model, oracle, target } = ctx;
  const none: ReadonlySet<string> = new Set();
  const skip = (why: string): ReadonlySet<string> => {
    ctx.decide({ node: "", kind: "skipped", rule: "fidelity-floor", why });
    return none;
  };
  if (oracle === null) return skip("the original cannot be sampled here, so nothing is measured");
  if (modelBytes(model) > TRIAL_BYTES) return skip("the model is too large to be converted again and again");
  const calls = spreadCalls(oracle.calls.length, MEASURED_CALLS);
  const bindings = recordedLengths(ctx);
  const attempt = async (precise: ReadonlySet<string>): Promise<Trial> => {
    const trial = cloneModel(model);
    convert(trial, trialContext(ctx, trial), precise);
    const estimate = target === null ? null : rooflineCost(trial, target, { bindings });
    return { errors: await oracle.errors(trial, calls), cost: estimate?.seconds ?? wideNodes(trial) };
  };
  const half = await attempt(none);
  const chosen = new Set<string>();
  let best = half;
  if (shortfall(floor, half.errors) > 0) {
    let left: Operator[] = [];
    for (const name of operators(model, ctx)) {
      const { errors, cost } = await attempt(new Set([name]));
      const removes = errors.noise.map((n, t) => half.errors.noise[t]! - n);
      left.push({ name, removes, cost: Math.max(cost - half.cost, half.cost * 1e-3, Number.MIN_VALUE) });
    }
    while (shortfall(floor, best.errors) > 0 && chosen.size < MOST_KEPT) {
      const next = mostWorth(left, best.errors, floor);
      if (next === null) break;
      left = left.filter((o) => o !== next);
      best = await attempt(chosen.add(next.name));
    }
    // The last one was needed, or the floor would have held before it.
    for (const name of [...chosen].slice(0, -1)) {
      if (shortfall(floor, best.errors) > 0) break;
      const fewer = await attempt(new Set([...chosen].filter((o) => o !== name)));
      if (shortfall(floor, fewer.errors) > 0) continue;
      chosen.delete(name);
      best = fewer;
    }
  }
  report({ floor, half, best, chosen }, ctx);
  return chosen;
}

function report(
  o: {
    readonly floor: FidelityFloor;
    readonly half: Trial;
    readonly best: Trial;
    readonly chosen: ReadonlySet<string>;
  },
  ctx: PassContext,
): void {
  const { floor, half, best, chosen } = o;
  const figures = ({ errors }: Trial): string =>
    `mean ${db(errors.mean)} dB, worst step ${db(errors.worst)} dB`;
  const machine = ctx.target?.machine;
  const slower = 100 * (best.cost / half.cost - 1);
  const time =
    machine === undefined || chosen.size === 0
      ? ""
      : `, at ${slower.toFixed(1)} % more estimated time (${basisOf(machine, [])})`;
  const kept =
    chosen.size === 0
      ? ""
      : `; in half precision throughout ${figures(half)}: ${[...chosen].join(", ")} stay in fp32${time}`;
  ctx.decide({
    node: "",
    kind: shortfall(floor, best.errors) === 0 ? "applied" : "downgraded",
    rule: "fidelity-floor",
    why: `measured on the calibration trajectory, every value rounded: ${figures(best)}${kept}`,
    to: floorText(floor),
    error: { metric: "sqnr-db", value: best.errors.mean },
  });
}
