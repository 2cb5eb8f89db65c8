import { join } from "node:path";
import type { Fidelity, Latency, SeedFigure } from "../report/types.ts";
import type { Target } from "../targets/target.ts";
import { type SeedSummary, seededInputs, type TrajectoryResult, verify } from "../verify/index.ts";
import { withSession } from "../verify/sessions.ts";
import { compareLatency } from "./latency.ts";
import { arithmeticOf, checkHere } from "./runnable.ts";
import type { SourceComponent } from "./source.ts";
import type { BuildContext, Built } from "./targets.ts";

/** What running a build beside the original showed. */
export interface Verdict {
  readonly latency: Latency | null;
  readonly fidelity: Fidelity | null;
  readonly notes: readonly string[];
}

function figure(s: SeedSummary): SeedFigure {
  return { median: s.median, p10: s.p10, low: s.interval[0], high: s.interval[1] };
}

/** The figures of the main setting as the report holds them. */
function fidelityOf(result: TrajectoryResult): Fidelity {
  const main = result.settings[0]!;
  return {
    sampler: main.sampler,
    steps: main.steps,
    guidance: main.guidance,
    seeds: main.seeds,
    conditions: result.conditions,
    timesteps: main.sqnr.steps.map((s) => s.timestep),
    sqnr: main.sqnr.steps.map((s) => s.sqnr),
    sqnrMean: main.sqnr.mean,
    sqnrInterval: main.sqnr.interval,
    sqnrWorst: main.sqnr.worst.sqnr,
    lossless: main.sqnr.lossless,
    psnr: figure(main.psnr),
    ssim: figure(main.ssim),
    conditioning:
      main.conditioning === null
        ? null
        : { sqnr: main.conditioning.steps.map((s) => s.sqnr), follows: main.conditioning.follows },
    noiseFloor: result.noiseFloor.mean,
  };
}

async function fidelity(
  ctx: BuildContext,
  built: Built,
  o: { readonly path: string; readonly target: Target },
): Promise<Fidelity | null> {
  const { prepared } = ctx;
  const { steps, guidance, sampler, samples } = prepared.recipe.verification;
  const result = await verify(prepared.source.pipeline, o.path, {
    arithmetic: arithmeticOf(o.target),
    runtime: ctx.runtime,
    effort: "quick",
    seed: prepared.plan.seed,
    bindings: built.component.shape,
    ...(steps !== undefined && { steps }),
    ...(guidance !== undefined && { guidance }),
    ...(sampler !== undefined && { sampler }),
    ...(samples !== undefined && { seeds: samples }),
    ...(ctx.signal !== undefined && { signal: ctx.signal }),
    onProgress: (done, total) => ctx.onEvent({ kind: "runs", target: built.target, done, total }),
  });
  return result.kind === "trajectory" ? fidelityOf(result) : null;
}

async function latency(
  ctx: BuildContext,
  built: Built,
  before: string,
  after: string,
): Promise<Latency | null> {
  if (ctx.runner.now === undefined) return null;
  const ports = await withSession(ctx.runtime, after, {}, async (s) => s.inputs);
  const feeds = seededInputs(ports, { seed: ctx.prepared.plan.seed, bindings: built.component.shape });
  return await compareLatency({ runtime: ctx.runtime, before, after, feeds, now: ctx.runner.now });
}

/** Runs a written build of the denoiser beside the original: along sampled trajectories, and against the clock. */
export async function judge(
  ctx: BuildContext,
  target: Target,
  component: SourceComponent,
  built: Built,
): Promise<Verdict> {
  const { plan, source } = ctx.prepared;
  const nothing = { latency: null, fidelity: null };
  if (!plan.verify) return { ...nothing, notes: ["not verified: switched off"] };
  const obstacle = await ctx.obstacle(component);
  if (obstacle !== null) return { ...nothing, notes: [`not verified: ${obstacle}`] };
  const path = join(ctx.output.staging, built.written.path);
  // The runtime at hand runs builds of every target on the CPU: only there do times mean anything.
  const speed = target.kind === "cpu" ? await latency(ctx, built, component.path, path) : null;
  if (source.pipeline.scheduler === null || !component.info.denoiser)
    return { latency: speed, fidelity: null, notes: ["not sampled: the input has no scheduler"] };
  const found = await checkHere(target, () => fidelity(ctx, built, { path, target }));
  const notes: string[] = [];
  if (found.why !== null) notes.push(`not verified: ${found.why}`);
  if (found.value?.conditioning?.follows === false)
    notes.push("the build no longer follows its condition: see fidelity.conditioning");
  return { latency: speed, fidelity: found.value, notes };
}
