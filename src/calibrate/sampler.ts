import { fail } from "../diagnostics/index.ts";
import { elementCount } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { ConditionSet, EncodedCondition } from "./conditions.ts";
import type { Denoiser } from "./denoiser.ts";
import { denseFrom, firstNotFinite, floats } from "./dense.ts";
import { conditionFeeds, type Guidance, guidanceHalves, guide, splitVariance } from "./guidance.ts";
import type { InputRoles } from "./roles.ts";
import type { Scheduler, SchedulerRun } from "./schedulers/index.ts";
import { type Seed, startingNoise, stepNoise } from "./seeds.ts";

/** One model call of one group of seeds, as it happened. Arrays are not reused afterwards. */
export interface StepRecord {
  /** Model call, from 0. */
  readonly call: number;
  readonly timestep: number;
  /** Positions of the group in the list of seeds. */
  readonly group: readonly number[];
  readonly halves: 1 | 2;
  /** What the denoiser was fed: with two halves, unconditional samples first. */
  readonly feeds: ReadonlyMap<string, Dense>;
  /** The denoiser's output for the whole batch, float32, without learned variance. */
  readonly output: Dense;
  /** Guided output, `group.length` samples. */
  readonly guided: Float32Array;
  /** Samples after the call, `group.length` of them. */
  readonly sample: Float64Array;
}

export interface TrajectoryOptions {
  readonly denoiser: Denoiser;
  readonly scheduler: Scheduler;
  readonly guidance: Guidance;
  /** One trajectory each. */
  readonly seeds: readonly Seed[];
  /** Trajectory `i` takes condition `i` modulo their number. */
  readonly conditions: ConditionSet;
  /** One sample, without the batch axis. */
  readonly shape: readonly number[];
  /** Trajectories per run; with guidance the denoiser sees twice as many samples. Default 4. */
  readonly batch?: number;
  readonly onStep?: (record: StepRecord) => void | Promise<void>;
  /** `keep` goes on with infinities and NaNs, to measure a broken build; default `fail`. */
  readonly notFinite?: "fail" | "keep";
  readonly signal?: AbortSignal;
}

/** Finished samples, in the order of the seeds. */
export interface Trajectory {
  /** `[seeds, ...shape]`, float32. */
  readonly samples: Dense;
  /** Condition of each seed. */
  readonly conditions: readonly string[];
  readonly calls: number;
}

/** The condition of the trajectory at a position. */
function conditionOf(conditions: ConditionSet, position: number): EncodedCondition {
  return conditions.conditions[position % conditions.conditions.length]!;
}

/** Checks that conditions can share a batch and that guidance has what it needs. */
function checkConditions(set: ConditionSet, roles: InputRoles, guidance: Guidance): void {
  const two = guidanceHalves(guidance) === 2;
  if (two && set.unconditional === null) fail("GUIDANCE_NEEDS_UNCONDITIONAL", { guidance: guidance.scale });
  const all = [...set.conditions, ...(two && set.unconditional !== null ? [set.unconditional] : [])];
  for (const role of roles.conditions) {
    const shapes = all.map((c) => c.inputs.get(role.name)?.dims.join(", ") ?? "absent");
    const other = shapes.find((s) => s !== shapes[0]);
    if (other !== undefined) {
      fail("CONDITIONS_DIFFER", { input: role.name, first: `[${shapes[0]}]`, other: `[${other}]` });
    }
  }
}

/** Timestep and sample feeds of one call. `scaled` holds the `n` samples of one half. */
function callFeeds(
  roles: InputRoles,
  scaled: Float32Array,
  shape: readonly number[],
  timestep: number,
  halves: 1 | 2,
  guidance: Guidance,
): Map<string, Dense> {
  const n = scaled.length / elementCount(shape);
  const total = n * halves;
  const sample = new Float32Array(scaled.length * halves);
  for (let h = 0; h < halves; h++) sample.set(scaled, h * scaled.length);
  const { layout, dtype } = roles.timestep;
  const times = layout === "batch" ? new Array<number>(total).fill(timestep) : [timestep];
  const feeds = new Map<string, Dense>([
    [roles.sample.name, denseFrom(roles.sample.dtype, [total, ...shape], sample)],
    [roles.timestep.name, denseFrom(dtype, layout === "scalar" ? [] : [times.length], times)],
  ]);
  for (const role of roles.conditions) {
    if (!role.guidance) continue;
    const dims = role.shape.length === 0 ? [] : [role.batched ? total : 1];
    feeds.set(
      role.name,
      denseFrom(role.dtype, dims, new Array<number>(elementCount(dims)).fill(guidance.scale)),
    );
  }
  return feeds;
}

/** Noise of a group, sample after sample. */
function groupNoise(seeds: readonly Seed[], draw: (seed: Seed) => Float32Array): Float32Array {
  const parts = seeds.map(draw);
  const size = parts[0]!.length;
  const out = new Float32Array(size * parts.length);
  for (const [i, p] of parts.entries()) out.set(p, i * size);
  return out;
}

/**
 * Samples trajectories: the scheduler drives the denoiser from seeded noise, both guidance halves in one batch. Noise
 * depends on the seed and the call alone, so grouping changes results only by the denoiser's own rounding. Fails with
 * GUIDANCE_NEEDS_UNCONDITIONAL, CONDITIONS_DIFFER, TRAJECTORY_NOT_FINITE or what the denoiser fails with.
 */
export async function sampleTrajectory(options: TrajectoryOptions): Promise<Trajectory> {
  const { denoiser, scheduler, guidance, seeds, shape } = options;
  checkConditions(options.conditions, denoiser.roles, guidance);
  const size = elementCount(shape);
  const samples = new Float32Array(seeds.length * size);
  const batch = Math.max(1, options.batch ?? 4);
  for (let from = 0; from < seeds.length; from += batch) {
    const group = Array.from({ length: Math.min(batch, seeds.length - from) }, (_, k) => from + k);
    samples.set(await sampleGroup(options, group, size), from * size);
  }
  return {
    samples: { dtype: "f32", dims: [seeds.length, ...shape], bytes: new Uint8Array(samples.buffer) },
    conditions: seeds.map((_, i) => conditionOf(options.conditions, i).name),
    calls: scheduler.timesteps.length,
  };
}

/** What the denoiser is fed at the first call of a group of seeds. */
export function openingFeeds(options: TrajectoryOptions, group: readonly number[]): Map<string, Dense> {
  const { denoiser, scheduler, guidance, shape } = options;
  const scaled = scheduler.scaleInput(startOf(options, group), 0);
  const halves = guidanceHalves(guidance);
  const timestep = scheduler.timesteps[0]!;
  const feeds = callFeeds(denoiser.roles, scaled, shape, timestep, halves, guidance);
  for (const [name, d] of groupConditions(options, group)) feeds.set(name, d);
  return feeds;
}

function startOf({ seeds, scheduler, shape }: TrajectoryOptions, group: readonly number[]): Float64Array {
  const size = elementCount(shape);
  const noise = groupNoise(
    group.map((i) => seeds[i]!),
    (s) => startingNoise(s, size),
  );
  return Float64Array.from(noise, (v) => v * scheduler.initNoiseSigma);
}

function groupConditions(
  { denoiser, conditions, guidance }: TrajectoryOptions,
  group: readonly number[],
): Map<string, Dense> {
  const chosen = group.map((i) => conditionOf(conditions, i));
  return conditionFeeds(denoiser.roles, chosen, conditions.unconditional, guidance);
}

async function sampleGroup(
  options: TrajectoryOptions,
  group: readonly number[],
  size: number,
): Promise<Float64Array> {
  const { denoiser, scheduler, guidance, shape } = options;
  const seeds = group.map((i) => options.seeds[i]!);
  const halves = guidanceHalves(guidance);
  const conditions = groupConditions(options, group);
  const run: SchedulerRun = scheduler.start(group.length);
  let x = startOf(options, group);
  for (const [call, timestep] of scheduler.timesteps.entries()) {
    options.signal?.throwIfAborted();
    const scaled = scheduler.scaleInput(x, call);
    const feeds = callFeeds(denoiser.roles, scaled, shape, timestep, halves, guidance);
    for (const [name, d] of conditions) feeds.set(name, d);
    const { prediction, variance } = splitVariance(await denoiser.run(feeds), size);
    const guided = guide(prediction, halves, guidance.scale);
    // The learned variance is not guided: the conditional half's is used.
    const spread = variance === null ? null : floats(variance).subarray((halves - 1) * group.length * size);
    x = run.step(guided, call, x, {
      ...(scheduler.usesNoise(call) && { noise: groupNoise(seeds, (s) => stepNoise(s, call, size)) }),
      ...(spread !== null && { variance: spread }),
    });
    if (options.notFinite !== "keep") {
      const inOutput = firstNotFinite(guided);
      const at = inOutput >= 0 ? inOutput : firstNotFinite(x);
      if (at >= 0) {
        const seed = seeds[Math.floor(at / size)]!.index;
        fail("TRAJECTORY_NOT_FINITE", {
          call,
          timestep,
          seed,
          what: inOutput >= 0 ? "the denoiser's guided output" : "the sample",
        });
      }
    }
    await options.onStep?.({ call, timestep, group, halves, feeds, output: prediction, guided, sample: x });
  }
  return x;
}
