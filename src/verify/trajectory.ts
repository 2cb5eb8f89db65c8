import type { Numbers, Scheduler, SchedulerRun } from "../calibrate/schedulers/index.ts";
import { type Seed, startingNoise, stepNoise } from "../calibrate/seeds.ts";
import { DifferenceTable } from "./metrics/difference.ts";
import { psnr, rangeOf, type SampleRange } from "./metrics/psnr.ts";
import { EnergyTable, energies } from "./metrics/sqnr.ts";
import { ssim } from "./metrics/ssim.ts";
import { guided, type Prediction, type Predictor } from "./predictor.ts";

/** One trajectory: where its noise comes from and which condition it follows. */
export interface Draw {
  readonly seed: Seed;
  /** Index of the pipeline's condition. */
  readonly condition: number;
}

/** What is sampled and how. */
export interface TrajectoryPlan {
  readonly scheduler: Scheduler;
  readonly guidance: number;
  readonly draws: readonly Draw[];
  /** Samples run together. */
  readonly batch: number;
  /** Dims of one sample, without the batch. */
  readonly dims: readonly number[];
  readonly range: SampleRange | null;
  /** Called after every model call of a batch. */
  readonly onStep?: () => void;
}

/** What the first batch saw, kept for the noise floor. */
export interface ProbePoint {
  readonly timestep: number;
  readonly input: Float32Array;
  readonly conditions: readonly number[];
  /** Guided outputs of both sides at this input. */
  readonly reference: Float32Array;
  readonly candidate: Float32Array;
}

/** Everything a comparison leaves behind: O(seeds × steps) numbers, and the points of the first batch. */
export interface TrajectoryRecord {
  readonly timesteps: readonly number[];
  readonly teacher: EnergyTable;
  readonly drift: EnergyTable;
  /** `null` when there is no unconditional half. */
  readonly conditioning: DifferenceTable | null;
  readonly psnr: readonly number[];
  readonly ssim: readonly number[];
  readonly probe: readonly ProbePoint[];
}

/** Noise of several trajectories, one after the other; both sides get the same. */
function noiseOf(group: readonly Draw[], call: number | null, length: number): Float32Array {
  const all = new Float32Array(group.length * length);
  for (const [k, d] of group.entries())
    all.set(call === null ? startingNoise(d.seed, length) : stepNoise(d.seed, call, length), k * length);
  return all;
}

/** One side's sample on its way, with its solver's history. */
interface Walker {
  readonly run: SchedulerRun;
  x: Numbers;
}

function advance(
  walker: Walker,
  p: Prediction,
  output: Float32Array,
  call: number,
  noise: Float32Array | null,
): void {
  const { variance } = p;
  walker.x = walker.run.step(output, call, walker.x, {
    ...(noise && { noise }),
    ...(variance && { variance }),
  });
}

/**
 * Samples the reference and compares the candidate with it: teacher-forced at every input the reference sees, and
 * free-running from the same noise. Batches go one after the other and only sums are kept.
 */
export async function compareTrajectories(
  reference: Predictor,
  candidate: Predictor,
  plan: TrajectoryPlan,
): Promise<TrajectoryRecord> {
  const { scheduler, draws, guidance } = plan;
  const calls = scheduler.timesteps.length;
  const length = plan.dims.reduce((n, d) => n * d, 1);
  const teacher = new EnergyTable(draws.length, calls);
  const drift = new EnergyTable(draws.length, calls);
  const conditioning = { table: null as DifferenceTable | null };
  const psnrs: number[] = [];
  const ssims: number[] = [];
  const probe: ProbePoint[] = [];

  for (let from = 0; from < draws.length; from += plan.batch) {
    const group = draws.slice(from, from + plan.batch);
    const conditions = group.map((d) => d.condition);
    const start = Float64Array.from(noiseOf(group, null, length), (v) => v * scheduler.initNoiseSigma);
    const own: Walker = { run: scheduler.start(group.length), x: start };
    const free: Walker = { run: scheduler.start(group.length), x: start };
    for (let call = 0; call < calls; call++) {
      const timestep = scheduler.timesteps[call]!;
      const input = scheduler.scaleInput(own.x, call);
      const before = await reference.predict(input, timestep, conditions);
      const after = await candidate.predict(input, timestep, conditions);
      const expected = guided(before, guidance);
      const found = guided(after, guidance);
      for (let k = 0; k < group.length; k++)
        teacher.add(from + k, call, energies(expected, found, k * length, (k + 1) * length));
      addDifference(conditioning, calls, call, before, after);
      if (from === 0) probe.push({ timestep, input, conditions, reference: expected, candidate: found });

      // At the first call both sides stand at the same point.
      const wandering =
        call === 0
          ? after
          : await candidate.predict(scheduler.scaleInput(free.x, call), timestep, conditions);
      const noise = scheduler.usesNoise(call) ? noiseOf(group, call, length) : null;
      advance(own, before, expected, call, noise);
      advance(free, wandering, guided(wandering, guidance), call, noise);
      for (let k = 0; k < group.length; k++)
        drift.add(from + k, call, energies(own.x, free.x, k * length, (k + 1) * length));
      plan.onStep?.();
    }
    for (let k = 0; k < group.length; k++) {
      const a = own.x.subarray(k * length, (k + 1) * length);
      const b = free.x.subarray(k * length, (k + 1) * length);
      const range = rangeOf(a, plan.range);
      psnrs.push(psnr(a, b, range));
      ssims.push(ssim(a, b, plan.dims, range));
    }
  }
  return {
    timesteps: [...scheduler.timesteps],
    teacher,
    drift,
    conditioning: conditioning.table,
    psnr: psnrs,
    ssim: ssims,
    probe,
  };
}

function addDifference(
  at: { table: DifferenceTable | null },
  calls: number,
  call: number,
  before: Prediction,
  after: Prediction,
): void {
  if (before.unconditional === null || after.unconditional === null) return;
  at.table ??= new DifferenceTable(calls);
  at.table.add(
    call,
    { conditional: before.conditional, unconditional: before.unconditional },
    { conditional: after.conditional, unconditional: after.unconditional },
  );
}
