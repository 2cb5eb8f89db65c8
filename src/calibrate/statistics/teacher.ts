import type { Dense } from "../../ir/evaluator.ts";
import type { Model } from "../../ir/graph.ts";
import type { Runtime, Session } from "../../runtime/index.ts";
import { type Denoiser, sessionDenoiser } from "../denoiser.ts";
import { type Guidance, guidanceHalves } from "../guidance.ts";
import { type Pipeline, pipelineDenoiser } from "../pipeline.ts";
import { type PlanOptions, planTrajectory } from "../plan.ts";
import type { InputRoles } from "../roles.ts";
import { openingFeeds, type StepRecord, sampleTrajectory } from "../sampler.ts";
import { calibrationSeeds } from "../seeds.ts";
import { measureTransport } from "../transport.ts";
import { jitteredTimestep, withTimestep } from "./jitter.ts";
import {
  type CallChoice,
  chooseCalls,
  needsGains,
  type TimestepChoice,
  type WeightChoice,
} from "./timesteps.ts";
import type { CalibrationCall } from "./types.ts";

/** Trajectories step sensitivity is measured on. */
const TRANSPORT_SAMPLES = 4;
/** Timesteps nearly every model was trained with. */
const TRAINED_TIMESTEPS = 1000;

/** Which trajectories statistics are collected on. */
export interface TeacherOptions extends PlanOptions, CallChoice {
  /** Root of the calibration seeds; default 0. */
  readonly seed?: number;
  /** Trajectories; default 4. */
  readonly samples?: number;
  /** Index of the first calibration seed; default 0. */
  readonly firstSample?: number;
  /** Calls at these timesteps are left out, as long as others remain. */
  readonly without?: readonly number[];
  /** Intra-op threads; default 1, which makes statistics the same on every machine of one instruction set. */
  readonly threads?: number;
  /**
   * Moves the timesteps models are fed by up to this share of the distance to their neighbours, for inputs that see the
   * timestep alone and would span few directions; default 0.
   */
  readonly jitter?: number;
  /** The model that drives; default the pipeline's denoiser. */
  readonly original?: string | Model;
  /** Bytes of inputs kept after the first visit, so that later ones need not sample again; default 0. */
  readonly keepBytes?: number;
}

/** Settings of a calibration trajectory as artifacts and reports hold them. */
export interface TeacherSettings {
  readonly sampler: string;
  readonly steps: number;
  readonly guidance: number;
  readonly samples: number;
  readonly batch: number;
  readonly seed: number;
  readonly jitter: number;
  /** One sample, without the batch axis. */
  readonly shape: readonly number[];
  readonly timesteps: TimestepChoice;
  readonly weights: WeightChoice;
}

/** What the original was fed at one call by one group of trajectories. */
export interface TeacherRun {
  /** Index into {@link Teacher.calls}. */
  readonly call: number;
  readonly group: number;
  readonly feeds: ReadonlyMap<string, Dense>;
}

/** The original on its calibration trajectories: whoever learns from it sees the inputs it saw. */
export interface Teacher {
  readonly calls: readonly CalibrationCall[];
  readonly roles: InputRoles;
  readonly guidance: Guidance;
  readonly halves: 1 | 2;
  /** Samples in the batch of each group, both guidance halves counted. */
  readonly groups: readonly number[];
  readonly seed: number;
  readonly threads: number;
  /** What decides the trajectory besides the pipeline's files; equal settings give equal statistics. */
  readonly settings: TeacherSettings;
  /** Timesteps of the sampler's calls, chosen or not. */
  readonly schedule: readonly number[];
  /** Feeds of the sampler's first call of the first group. */
  readonly example: ReadonlyMap<string, Dense>;
  /** Group after group, call after call within it. */
  visit(on: (run: TeacherRun) => Promise<void>): Promise<void>;
  /** As {@link visit}, with what the original answered; always samples. */
  record(on: (run: TeacherRun, step: StepRecord) => Promise<void>): Promise<void>;
  release(): Promise<void>;
}

const bytesOf = (feeds: ReadonlyMap<string, Dense>): number =>
  [...feeds.values()].reduce((n, d) => n + d.bytes.length, 0);

/** Loads the original and plans its trajectories. Errors: those of {@link planTrajectory} and of loading. */
export async function openTeacher(
  runtime: Runtime,
  pipeline: Pipeline,
  options: TeacherOptions = {},
): Promise<Teacher> {
  const original = options.original ?? pipelineDenoiser(pipeline).model;
  const load = (): Promise<Session> => runtime.openSession(original, { threads: options.threads ?? 1 });
  const held = holder(await load(), load);
  try {
    return await teacherOn(held, runtime, pipeline, options);
  } catch (e) {
    await held.release();
    throw e;
  }
}

/** A session that can be let go of and comes back when it is needed. */
interface Holder {
  get(): Promise<Session>;
  release(): Promise<void>;
}

function holder(first: Session, load: () => Promise<Session>): Holder {
  let session: Session | null = first;
  return {
    async get() {
      session ??= await load();
      return session;
    },
    async release() {
      await session?.release();
      session = null;
    },
  };
}

async function teacherOn(
  held: Holder,
  runtime: Runtime,
  pipeline: Pipeline,
  options: TeacherOptions,
): Promise<Teacher> {
  const names = pipeline.sampling.roles;
  const denoiser: Denoiser = {
    roles: sessionDenoiser(await held.get(), names).roles,
    run: async (feeds) => await sessionDenoiser(await held.get(), names).run(feeds),
  };
  const plan = await planTrajectory(pipeline, runtime, denoiser, options);
  const seeds = calibrationSeeds(options.seed ?? 0, options.samples ?? 4, options.firstSample ?? 0);
  const halves = guidanceHalves(plan.guidance);
  const batch = Math.max(1, options.batch ?? 4);
  const groups: number[] = [];
  for (let from = 0; from < seeds.length; from += batch)
    groups.push(Math.min(batch, seeds.length - from) * halves);
  const seed = options.seed ?? 0;
  const timesteps = [...plan.scheduler.timesteps];
  const drawn = chooseCalls(options, {
    timesteps,
    trained: Number(pipeline.scheduler?.config["num_train_timesteps"] ?? TRAINED_TIMESTEPS),
    seed,
    gains: needsGains(options)
      ? (await measureTransport({ ...plan, batch }, seeds.slice(0, TRANSPORT_SAMPLES))).gains
      : null,
  });
  const others = drawn.filter((c) => options.without?.includes(c.timestep) !== true);
  const chosen = others.length > 0 ? others : drawn;
  const calls = chosen.map(({ timestep, weight }): CalibrationCall => ({ timestep, weight }));
  const position = new Map(chosen.map(({ index }, i) => [index, i]));
  const jitter = options.jitter ?? 0;
  const members = Array.from({ length: groups[0]! / halves }, (_, i) => i);
  let kept: TeacherRun[] | null = null;

  async function record(on: (run: TeacherRun, step: StepRecord) => Promise<void>): Promise<void> {
    await sampleTrajectory({
      ...plan,
      seeds,
      batch,
      onStep: async (step) => {
        const call = position.get(step.call);
        if (call !== undefined)
          await on({ call, group: Math.floor(step.group[0]! / batch), feeds: step.feeds }, step);
      },
    });
  }
  return {
    calls,
    roles: denoiser.roles,
    guidance: plan.guidance,
    halves,
    groups,
    example: openingFeeds({ ...plan, seeds }, members),
    seed,
    threads: options.threads ?? 1,
    settings: {
      sampler: plan.scheduler.sampler,
      steps: plan.scheduler.steps,
      guidance: plan.guidance.scale,
      samples: seeds.length,
      batch,
      seed,
      jitter,
      shape: plan.shape,
      timesteps: options.timesteps ?? "uniform",
      weights: options.weights ?? "uniform",
    },
    schedule: timesteps,
    record,
    async visit(on) {
      if (kept !== null) {
        for (const run of kept) {
          options.signal?.throwIfAborted();
          await on(run);
        }
        return;
      }
      const keeping: TeacherRun[] = [];
      let keep = (options.keepBytes ?? 0) > 0;
      await record(async (asked, step) => {
        const t = jitteredTimestep({ amount: jitter, timesteps, seed }, step.call, asked.group);
        const feeds = jitter > 0 ? withTimestep(asked.feeds, denoiser.roles.timestep, t) : asked.feeds;
        const run = { ...asked, feeds };
        keep &&= bytesOf(run.feeds) * calls.length * groups.length <= options.keepBytes!;
        if (keep) keeping.push(run);
        await on(run);
      });
      if (!keep) return;
      kept = keeping;
      await held.release();
    },
    release: held.release,
  };
}
