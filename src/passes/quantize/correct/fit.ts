import { sessionDenoiser } from "../../../calibrate/denoiser.ts";
import { floats } from "../../../calibrate/dense.ts";
import { guide, splitVariance } from "../../../calibrate/guidance.ts";
import type { Oracle, OracleCall } from "../../../calibrate/statistics/types.ts";
import { elementCount } from "../../../ir/dtype.ts";
import type { Dense } from "../../../ir/evaluator.ts";
import {
  type AffineFit,
  addPairs,
  type Estimator,
  errorAfter,
  fitAffine,
  identityFit,
  mergePairs,
  type PairSums,
  pairSums,
} from "../../../numeric/affine-fit.ts";
import type { Session } from "../../../runtime/index.ts";

/** What a correction is fitted on: the guided output, or the rows of both halves as they are. */
export type FitOn = "guided" | "halves";

/** How corrections are fitted. */
export interface FitOptions {
  readonly estimator: Estimator;
  readonly on: FitOn;
  readonly positive: boolean;
}

/** The correction of one timestep, and what it does to seeds it was not fitted on. */
export interface StepFit {
  readonly timestep: number;
  readonly weight: number;
  /** Fitted on all seeds; the identity when it does not help on held-out ones. */
  readonly fit: AffineFit;
  readonly helps: boolean;
  /** Energies of the guided output over all seeds; `after` with each seed's correction fitted without it. */
  readonly signal: number;
  readonly before: number;
  readonly after: number;
  /** Elements behind the energies. */
  readonly count: number;
}

/** Channel axis of outputs and how elements count along it. */
export interface Channels {
  readonly axis: number;
  readonly count: number;
  /** Neighbouring elements of one channel. */
  readonly inner: number;
}

/** Channels of a prediction: axis 1 of images and videos, the last of token sequences. */
export function channelsOf(dims: readonly number[]): Channels {
  const axis = dims.length === 3 ? 2 : 1;
  return { axis, count: dims[axis] ?? 1, inner: elementCount(dims.slice(axis + 1)) };
}

/** Seeds are held out in turn in this many groups. */
const FOLDS = 4;

/** Sums of one timestep, per group of seeds. */
interface StepSums {
  readonly weight: number;
  seeds: number;
  readonly guided: PairSums[];
  readonly halves: PairSums[];
}

function row(values: Float32Array, k: number, count: number): Float32Array {
  const size = values.length / count;
  return values.subarray(k * size, (k + 1) * size);
}

function addCall(oracle: Oracle, call: OracleCall, output: Dense, at: StepSums): void {
  const truth = call.outputs.get(oracle.output)!;
  const batch = truth.dims[0]!;
  const seeds = batch / oracle.halves;
  const { inner } = channelsOf(truth.dims);
  const { prediction } = splitVariance(output, elementCount(truth.dims) / batch);
  const [e, x] = [floats(truth), floats(prediction)];
  const [eg, xg] = [truth, prediction].map((d) => guide(d, oracle.halves, oracle.guidance)) as [
    Float32Array,
    Float32Array,
  ];
  for (let k = 0; k < seeds; k++) {
    const fold = at.seeds++ % FOLDS;
    addPairs(at.guided[fold]!, row(eg, k, seeds), row(xg, k, seeds), inner);
    for (let h = 0; h < oracle.halves; h++) {
      const r = h * seeds + k;
      addPairs(at.halves[fold]!, row(e, r, batch), row(x, r, batch), inner);
    }
  }
}

/** Runs the compressed model on every recorded call. */
async function collect(oracle: Oracle, session: Session): Promise<Map<number, StepSums>> {
  const denoiser = sessionDenoiser(session);
  const steps = new Map<number, StepSums>();
  for (const call of oracle.calls) {
    const truth = call.outputs.get(oracle.output)!;
    const { count } = channelsOf(truth.dims);
    const folds = (): PairSums[] => Array.from({ length: FOLDS }, () => pairSums(count));
    let at = steps.get(call.timestep);
    if (at === undefined) {
      at = { weight: call.weight, seeds: 0, guided: folds(), halves: folds() };
      steps.set(call.timestep, at);
    }
    addCall(oracle, call, await denoiser.run(call.feeds), at);
  }
  return steps;
}

/** Fits one timestep and holds out every group of seeds once. */
function fitStep(timestep: number, s: StepSums, o: FitOptions): StepFit {
  const source = o.on === "guided" ? s.guided : s.halves;
  const channels = source[0]!.e.length;
  const used = Array.from({ length: Math.min(FOLDS, s.seeds) }, (_, f) => f);
  const still = new Float64Array(channels);
  let [signal, before, after, better, count] = [0, 0, 0, 0, 0];
  for (const f of used) {
    const others = mergePairs(used.filter((k) => k !== f).map((k) => source[k]!));
    const { gain, offset } = fitAffine(others, o.estimator, o.positive);
    const now = errorAfter(s.guided[f]!, 1, still);
    const then = errorAfter(s.guided[f]!, gain, offset);
    signal += s.guided[f]!.ee.reduce((a, b) => a + b, 0);
    before += now;
    count += s.guided[f]!.count * channels;
    after += then;
    if (then < now) better++;
  }
  const helps = after < before && 2 * better > used.length;
  const whole = fitAffine(mergePairs(source), o.estimator, o.positive);
  return {
    timestep,
    weight: s.weight,
    fit: helps ? whole : identityFit(channels),
    helps,
    signal,
    before,
    after: helps ? after : before,
    count,
  };
}

/**
 * A correction for every recorded timestep, ascending. `null` when a timestep has a single seed: none could be held out.
 */
export async function fitSteps(
  oracle: Oracle,
  session: Session,
  options: FitOptions,
): Promise<StepFit[] | null> {
  const steps = await collect(oracle, session);
  if ([...steps.values()].some((s) => s.seeds < 2)) return null;
  return [...steps].sort(([a], [b]) => a - b).map(([timestep, sums]) => fitStep(timestep, sums, options));
}
