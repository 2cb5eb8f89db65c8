import { declaredSizes } from "../calibrate/component.ts";
import { type ConditionSet, resolveConditions } from "../calibrate/conditions.ts";
import { sessionDenoiser } from "../calibrate/denoiser.ts";
import { type Pipeline, pipelineDenoiser, pipelineScheduler } from "../calibrate/pipeline.ts";
import { type InputRoles, sampleShape } from "../calibrate/roles.ts";
import type { Scheduler } from "../calibrate/schedulers/index.ts";
import { verificationSeeds } from "../calibrate/seeds.ts";
import { fail } from "../diagnostics/index.ts";
import type { Model } from "../ir/graph.ts";
import type { Runtime, Session, SessionOptions } from "../runtime/index.ts";
import { noiseFloor, type ProbeResult, probePredictor, split } from "./floor.ts";
import type { SampleRange } from "./metrics/psnr.ts";
import type { VerifyOptions } from "./options.ts";
import type { Predictor } from "./predictor.ts";
import { candidateSession, fixedDims, withSession } from "./sessions.ts";
import { planSettings, type Setting } from "./settings.ts";
import { sidePredictor } from "./side.ts";
import { agreementOf, settingResult } from "./summary.ts";
import { compareTrajectories, type Draw, type TrajectoryRecord } from "./trajectory.ts";
import type { TrajectoryResult } from "./types.ts";

/** Samples run together unless said. */
const DEFAULT_BATCH = 4;
/** Stand-ins for a pipeline that describes no conditions. */
const SYNTHETIC_CONDITIONS = 4;

/** What every setting of one comparison shares. */
interface Bench {
  readonly pipeline: Pipeline;
  readonly options: VerifyOptions;
  readonly conditions: ConditionSet;
  readonly roles: InputRoles;
  readonly dims: readonly number[];
  readonly range: SampleRange | null;
  readonly batch: number;
}

function predictorOn(bench: Bench, session: Session, guidance: number): Predictor {
  const denoiser = sessionDenoiser(session, bench.pipeline.sampling.roles);
  return sidePredictor(denoiser, bench.conditions, bench.dims, guidance);
}

/** Samples the pipeline and judges another denoiser along the way; see {@link TrajectoryResult}. */
export async function verifyDenoiser(
  pipeline: Pipeline,
  rival: string | Model,
  options: VerifyOptions,
  runtime: Runtime,
): Promise<TrajectoryResult> {
  const component = pipelineDenoiser(pipeline);
  const threads = options.threads ?? 1;
  const { splitResult, bench, plan, records } = await sampleAll(
    pipeline,
    component.model,
    rival,
    options,
    runtime,
  );
  const main = records[0]!;
  const { guidance } = plan.settings[0]!;
  const probe = (source: string | Model, session: SessionOptions, side: "reference" | "candidate") =>
    withSession(runtime, source, session, (s) =>
      probePredictor(predictorOn(bench, s, guidance), main.probe, guidance, (p) => p[side]),
    );
  const other = threads === 1 ? 2 : 1;
  const variants: { name: string; result: ProbeResult }[] = [
    { name: `${other} threads`, result: await probe(component.model, { threads: other }, "reference") },
    {
      name: "unoptimised",
      result: await probe(component.model, { threads, optimize: "disable" }, "reference"),
    },
    ...(splitResult === null ? [] : [{ name: "one sample at a time", result: splitResult }]),
  ];
  const floor = noiseFloor(variants);
  const plain = await probe(rival, { ...candidateSession(options), optimize: "disable" }, "candidate");
  const settings = plan.settings.map((s, i) => settingResult(s, records[i]!, floor, main.timesteps));
  return {
    kind: "trajectory",
    component: component.name,
    conditions: bench.conditions.source,
    sampleRange: bench.range === null ? null : [bench.range.low, bench.range.high],
    settings,
    noiseFloor: floor,
    agreement: agreementOf(plain, settings[0]!, floor),
    omitted: plan.omitted,
  };
}

/** Runs every setting with one session a side. */
async function sampleAll(
  pipeline: Pipeline,
  original: string,
  rival: string | Model,
  options: VerifyOptions,
  runtime: Runtime,
) {
  const session: SessionOptions = { threads: options.threads ?? 1 };
  return await withSession(runtime, original, session, (before) =>
    withSession(runtime, rival, candidateSession(options), async (after) => {
      const bench = await prepare(pipeline, before, after, options, runtime);
      const { sampling } = pipeline;
      const first = pipelineScheduler(pipeline, {
        ...(options.sampler !== undefined && { sampler: options.sampler }),
        ...(options.steps !== undefined && { steps: options.steps }),
      });
      const plan = planSettings({
        sampler: first.sampler,
        steps: first.steps,
        guidance: options.guidance ?? sampling.guidance,
        effort: options.effort ?? "full",
        guidable: bench.conditions.unconditional !== null,
        ...(options.seeds !== undefined && { seeds: options.seeds }),
        ...(options.settings !== undefined && { settings: options.settings }),
      });
      const records: TrajectoryRecord[] = [];
      const progress = progressOver(plan.settings, bench, options);
      for (const setting of plan.settings)
        records.push(await sample(bench, setting, before, after, progress));
      const main = plan.settings[0]!;
      const reference = predictorOn(bench, before, main.guidance);
      const splits =
        bench.batch > 1 &&
        bench.roles.fixedBatch === null &&
        (records[0]!.probe[0]?.conditions.length ?? 0) > 1;
      const splitResult = splits
        ? await probePredictor(split(reference, 1), records[0]!.probe, main.guidance, (p) => p.reference)
        : null;
      return { splitResult, bench, plan, records };
    }),
  );
}

async function prepare(
  pipeline: Pipeline,
  before: Session,
  after: Session,
  options: VerifyOptions,
  runtime: Runtime,
): Promise<Bench> {
  const { roles } = sessionDenoiser(before, pipeline.sampling.roles);
  const bindings = { ...options.bindings, ...fixedDims(before, after) };
  const conditions = await resolveConditions(pipeline, runtime, roles, {
    bindings,
    synthetic: { seed: options.seed ?? 0, count: SYNTHETIC_CONDITIONS },
    ...(options.conditions !== undefined && { file: options.conditions }),
  });
  const [low, high] = pipeline.sampling.sampleRange;
  // Latents have no range of their own: the declared one is that of decoded images.
  const latent = pipeline.components.some((c) => c.kind === "vae-decoder");
  return {
    pipeline,
    options,
    conditions,
    roles,
    dims: sampleShape(roles.sample, declaredSizes(pipelineDenoiser(pipeline)), bindings),
    range: latent ? null : { low, high },
    batch: Math.max(1, options.batch ?? DEFAULT_BATCH),
  };
}

function schedulerOf(bench: Bench, setting: Setting): Scheduler {
  return pipelineScheduler(bench.pipeline, { sampler: setting.sampler, steps: setting.steps });
}

/** Counts model calls of all settings together, batch by batch. */
function progressOver(settings: readonly Setting[], bench: Bench, options: VerifyOptions): () => void {
  let total = 0;
  for (const s of settings)
    total += schedulerOf(bench, s).timesteps.length * Math.ceil(s.seeds / bench.batch);
  let done = 0;
  return () => {
    if (options.signal?.aborted) fail("INTERRUPTED", { during: "verification" });
    options.onProgress?.(++done, total);
  };
}

async function sample(
  bench: Bench,
  setting: Setting,
  before: Session,
  after: Session,
  onStep: () => void,
): Promise<TrajectoryRecord> {
  const seeds = verificationSeeds(bench.options.seed ?? 0, setting.seeds);
  const count = bench.conditions.conditions.length;
  const draws: Draw[] = seeds.map((seed, i) => ({ seed, condition: i % count }));
  return await compareTrajectories(
    predictorOn(bench, before, setting.guidance),
    predictorOn(bench, after, setting.guidance),
    {
      scheduler: schedulerOf(bench, setting),
      guidance: setting.guidance,
      draws,
      batch: bench.batch,
      dims: bench.dims,
      range: bench.range,
      onStep,
    },
  );
}
