import { elementCount } from "../../ir/dtype.ts";
import type { Dense } from "../../ir/evaluator.ts";
import type { Model } from "../../ir/graph.ts";
import type { Runtime, Session } from "../../runtime/index.ts";
import { type Denoiser, sessionDenoiser } from "../denoiser.ts";
import { conditionFeeds, type Guidance, guidanceHalves } from "../guidance.ts";
import { type Pipeline, pipelineDenoiser } from "../pipeline.ts";
import { type PlanOptions, planTrajectory } from "../plan.ts";
import type { InputRoles } from "../roles.ts";
import { callFeeds, type StepRecord, sampleTrajectory } from "../sampler.ts";
import { calibrationSeeds } from "../seeds.ts";
import type { CalibrationCall } from "./types.ts";

/** Which trajectories statistics are collected on. */
export interface TeacherOptions extends PlanOptions {
  /** Root of the calibration seeds; default 0. */
  readonly seed?: number;
  /** Trajectories; default 4. */
  readonly samples?: number;
  /** Intra-op threads; default 1, which makes statistics the same on every machine of one instruction set. */
  readonly threads?: number;
  /** The model that drives; default the pipeline's denoiser. */
  readonly original?: string | Model;
  /** Bytes of inputs kept after the first visit, so that later ones need not sample again; default 0. */
  readonly keepBytes?: number;
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
  /** Feeds like those of the first call of the first group; their numbers mean nothing. */
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
  const seeds = calibrationSeeds(options.seed ?? 0, options.samples ?? 4);
  const halves = guidanceHalves(plan.guidance);
  const batch = Math.max(1, options.batch ?? 4);
  const groups: number[] = [];
  for (let from = 0; from < seeds.length; from += batch)
    groups.push(Math.min(batch, seeds.length - from) * halves);
  const calls = Array.from(
    plan.scheduler.timesteps,
    (timestep): CalibrationCall => ({ timestep, weight: 1 }),
  );
  const members = Array.from({ length: groups[0]! / halves }, (_, i) => i);
  const { conditions } = plan.conditions;
  const example = new Map([
    ...callFeeds(
      denoiser.roles,
      new Float32Array(members.length * elementCount(plan.shape)),
      plan.shape,
      calls[0]!.timestep,
      halves,
      plan.guidance,
    ),
    ...conditionFeeds(
      denoiser.roles,
      members.map((i) => conditions[i % conditions.length]!),
      plan.conditions.unconditional,
      plan.guidance,
    ),
  ]);
  let kept: TeacherRun[] | null = null;

  async function record(on: (run: TeacherRun, step: StepRecord) => Promise<void>): Promise<void> {
    await sampleTrajectory({
      ...plan,
      seeds,
      batch,
      onStep: (step) =>
        on({ call: step.call, group: Math.floor(step.group[0]! / batch), feeds: step.feeds }, step),
    });
  }
  return {
    calls,
    roles: denoiser.roles,
    guidance: plan.guidance,
    halves,
    groups,
    example,
    seed: options.seed ?? 0,
    threads: options.threads ?? 1,
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
      await record(async (run) => {
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
