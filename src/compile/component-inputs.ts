import { sessionDenoiser } from "../calibrate/denoiser.ts";
import { denseFrom, floats, numbersOf, rows, stack } from "../calibrate/dense.ts";
import { componentFeeds } from "../calibrate/encode.ts";
import { pipelineScheduler } from "../calibrate/pipeline.ts";
import { planTrajectory } from "../calibrate/plan.ts";
import { sampleTrajectory } from "../calibrate/sampler.ts";
import { calibrationSeeds, type SeedPurpose, verificationSeeds } from "../calibrate/seeds.ts";
import { anatomy } from "../ir/anatomy/index.ts";
import { elementCount, isFloat } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import { inferShapes } from "../ir/infer.ts";
import { createRng } from "../numeric/rng.ts";
import type { Bindings } from "../passes/pass.ts";
import type { PortType, Runtime } from "../runtime/index.ts";
import { seededInputs } from "../verify/index.ts";
import { withSession } from "../verify/sessions.ts";
import type { Prepared } from "./prepare.ts";
import type { Obstacle } from "./runnable.ts";
import { deduceBindings } from "./shapes.ts";
import type { SourceComponent } from "./source.ts";

/** Sets of inputs when they are made up, and trajectories when latents are sampled. */
const SETS = 4;
/** Timesteps of the usual training schedules. */
const TIMESTEPS = 1000;

/** Inputs a component is calibrated on or judged by. */
export interface ComponentInputs {
  /** The pipeline's own conditions, latents sampled with its denoiser, or seeded random numbers. */
  readonly source: "conditions" | "latents" | "seeded";
  readonly sets: readonly ReadonlyMap<string, Dense>[];
}

/** What is to be fed, and why. */
export interface InputsRequest {
  readonly component: SourceComponent;
  /** Inputs of the graph that will run. */
  readonly ports: readonly PortType[];
  /** Calibration and verification never share random numbers; conditions are few and serve both. */
  readonly purpose: SeedPurpose;
  /** Lengths of open dims. */
  readonly lengths: Bindings;
}

/** Finds inputs for components; latents are sampled once per purpose. */
export type FindInputs = (request: InputsRequest) => Promise<ComponentInputs>;

/** Rows put together for a graph of one fixed batch size, or `null` when some input does not fit it. */
function fitting(
  sets: readonly ReadonlyMap<string, Dense>[],
  ports: readonly PortType[],
): ReadonlyMap<string, Dense>[] | null {
  const first = ports.find((p) => p.shape.length > 1)?.shape[0];
  const batch = typeof first === "number" ? first : 1;
  const grouped = Array.from({ length: Math.ceil(sets.length / batch) }, (_, k) => {
    const group = Array.from({ length: batch }, (_, j) => sets[(k * batch + j) % sets.length]!);
    return new Map(
      [...group[0]!].map(([name, d]) => {
        const port = ports.find((p) => p.name === name);
        const joins = batch > 1 && port?.shape[0] === batch && d.dims[0] === 1;
        return [name, joins ? stack(group.map((s) => s.get(name)!)) : d];
      }),
    );
  });
  const fits = grouped.every((set) =>
    ports.every((p) => {
      const dims = set.get(p.name)?.dims;
      return (
        dims?.length === p.shape.length && p.shape.every((d, a) => typeof d !== "number" || d === dims[a])
      );
    }),
  );
  return fits && grouped.length > 0 ? grouped : null;
}

/** Factor and offset that lead from the denoiser's latents to what a decoder takes, by its `config.json`. */
function decoderScale(config: Readonly<Record<string, unknown>> | null): { scale: number; shift: number } {
  const number = (key: string): number | null => {
    const value = config?.[key];
    return typeof value === "number" && Number.isFinite(value) ? value : null;
  };
  return { scale: 1 / (number("scaling_factor") || 1), shift: number("shift_factor") ?? 0 };
}

function scaled(d: Dense, { scale, shift }: { scale: number; shift: number }): Dense {
  return denseFrom(
    d.dtype,
    d.dims,
    numbersOf(d).map((v) => v * scale + shift),
  );
}

/** Inputs of a graph that are times; made-up times are drawn from the training schedule. */
export function timeInputs(component: SourceComponent): ReadonlySet<string> {
  const { inputs } = anatomy(component.model, inferShapes(component.model));
  return new Set(inputs.filter((i) => i.role === "timestep").map((i) => i.name));
}

function seeded(prepared: Prepared, r: InputsRequest): ComponentInputs {
  const { seed } = prepared.plan;
  const config = prepared.source.pipeline.components.find((c) => c.name === r.component.info.name)!.config;
  const times = timeInputs(r.component);
  const vocabulary = config?.["vocab_size"];
  const below =
    typeof vocabulary === "number" && vocabulary > 1
      ? Object.fromEntries(r.ports.filter((p) => p.shape.length === 2).map((p) => [p.name, vocabulary]))
      : {};
  const sets = Array.from({ length: SETS }, (_, set) => {
    const how = { seed, bindings: r.lengths, below, purpose: r.purpose };
    const feeds = seededInputs(r.ports, how, set);
    for (const [name, d] of feeds) {
      const port = r.ports.find((p) => p.name === name)!;
      if (times.has(name)) {
        const time = createRng(seed, "component time", r.purpose, set).int(TIMESTEPS);
        feeds.set(name, denseFrom(d.dtype, d.dims, new Float64Array(elementCount(d.dims)).fill(time)));
      } else if (isFloat(port.dtype) && d.dims.length === 4) feeds.set(name, scaled(d, decoderScale(config)));
    }
    return feeds;
  });
  return { source: "seeded", sets };
}

/** Sets of seeded inputs for a component, whatever its pipeline would feed it; then the same at the pipeline's timesteps. */
export function* seededFeeds(
  prepared: Prepared,
  component: SourceComponent,
  ports: readonly PortType[],
  lengths: Bindings,
): Iterable<ReadonlyMap<string, Dense>> {
  const { sets } = seeded(prepared, { component, ports, lengths, purpose: "verification" });
  yield* sets;
  const times = timeInputs(component);
  const { pipeline } = prepared.source;
  if (times.size === 0 || pipeline.scheduler === null) return;
  const { steps } = prepared.recipe.calibration;
  for (const o of [{}, ...(steps === undefined ? [] : [{ steps }])])
    for (const timestep of pipelineScheduler(pipeline, o).timesteps) {
      const at = (d: Dense): Dense =>
        denseFrom(d.dtype, d.dims, new Float64Array(elementCount(d.dims)).fill(timestep));
      yield new Map([...sets[0]!].map(([name, d]) => [name, times.has(name) ? at(d) : d]));
    }
}

/** What {@link findComponentInputs} works with. */
export interface InputsContext {
  readonly prepared: Prepared;
  readonly runtime: Runtime;
  readonly obstacle: Obstacle;
  readonly signal: AbortSignal | undefined;
}

/** Finished samples of the pipeline's own denoiser, `null` when it cannot be sampled here. */
async function sampleLatents(ctx: InputsContext, purpose: SeedPurpose): Promise<Dense | null> {
  const { source, recipe, plan } = ctx.prepared;
  const denoiser = source.components.find((c) => c.info.denoiser);
  if (denoiser === undefined || source.pipeline.scheduler === null) return null;
  if ((await ctx.obstacle(denoiser)) !== null) return null;
  const { samples: _seeds, ...settings } =
    purpose === "calibration" ? recipe.calibration : recipe.verification;
  const bindings = { ...deduceBindings(denoiser.info, recipe.shape).found, ...recipe.shape };
  return await withSession(ctx.runtime, denoiser.path, {}, async (session) => {
    const trajectory = await planTrajectory(
      source.pipeline,
      ctx.runtime,
      sessionDenoiser(session, source.pipeline.sampling.roles),
      {
        ...settings,
        bindings,
        resolve: { synthetic: { seed: plan.seed, count: SETS } },
        ...(ctx.signal !== undefined && { signal: ctx.signal }),
      },
    );
    const seeds = purpose === "calibration" ? calibrationSeeds : verificationSeeds;
    return (await sampleTrajectory({ ...trajectory, seeds: seeds(plan.seed, SETS) })).samples;
  });
}

/**
 * Inputs for components besides the denoiser: a text encoder is fed the conditions of the pipeline, a decoder latents
 * its denoiser finishes, everything else (and both where the pipeline gives none, or none that fits) seeded random
 * numbers. Errors: those of conditions, tokenizers and sampling.
 */
export function findComponentInputs(ctx: InputsContext): FindInputs {
  const latents = new Map<SeedPurpose, Promise<Dense | null>>();
  const sampled = (purpose: SeedPurpose): Promise<Dense | null> => {
    const found = latents.get(purpose) ?? sampleLatents(ctx, purpose);
    latents.set(purpose, found);
    return found;
  };
  return async (request) => {
    const { component, ports, purpose } = request;
    const { pipeline } = ctx.prepared.source;
    const { name, kind } = component.info;
    if (kind === "text-encoder") {
      const sets = fitting(await componentFeeds(pipeline, name, ports), ports);
      if (sets !== null) return { source: "conditions", sets };
    }
    const port = ports.length === 1 ? ports[0]! : null;
    if (kind === "vae-decoder" && port !== null) {
      const all = await sampled(purpose);
      if (all !== null) {
        const { config } = pipeline.components.find((c) => c.name === name)!;
        const one = (k: number): Dense =>
          denseFrom(
            port.dtype,
            [1, ...all.dims.slice(1)],
            floats(scaled(rows(all, k, k + 1), decoderScale(config))),
          );
        const sets = fitting(
          Array.from({ length: all.dims[0]! }, (_, k) => new Map([[port.name, one(k)]])),
          ports,
        );
        if (sets !== null) return { source: "latents", sets };
      }
    }
    return seeded(ctx.prepared, request);
  };
}
