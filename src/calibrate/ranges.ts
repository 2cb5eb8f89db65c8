import { type Diagnostic, diagnostic } from "../diagnostics/index.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { Model } from "../ir/graph.ts";
import type { Runtime, Session } from "../runtime/index.ts";
import { type Denoiser, denoiserOutput, feedPieces } from "./denoiser.ts";
import { floats, rows, stack } from "./dense.ts";
import { instrument, type Observed, observableValues, REDUCTIONS } from "./instrument.ts";
import { type Pipeline, pipelineDenoiser } from "./pipeline.ts";
import { type PlanOptions, planTrajectory } from "./plan.ts";
import { type InputRoles, inputRoles } from "./roles.ts";
import { sampleTrajectory } from "./sampler.ts";
import { calibrationSeeds } from "./seeds.ts";

/** Extremes of one value over all runs. */
export interface ValueRange {
  /** `-Infinity` when the value was not finite in some run. */
  readonly min: number;
  /** `Infinity` when the value was not finite in some run. */
  readonly max: number;
  readonly absMax: number;
  /** Runs in which some element was infinite or not a number. */
  readonly notFinite: number;
}

/** Ranges by value name; fits the pass context's range statistics. */
export interface Ranges {
  get(valueName: string): ValueRange | undefined;
  /** In topological order of the values. */
  readonly entries: ReadonlyMap<string, ValueRange>;
  /** Model runs each range covers. */
  readonly runs: number;
  /** RANGE_NOT_FINITE when some value overflowed. */
  readonly diagnostics: readonly Diagnostic[];
}

export interface ObserveOptions {
  /** Intra-op threads; default 1, which makes statistics the same on every machine of one instruction set. */
  readonly threads?: number;
  /** Values per instrumented graph; more values take further rounds over the same inputs. Default 4096. */
  readonly valuesPerRound?: number;
  /** Lengths of symbolic dims; only values known to be empty depend on them. */
  readonly bindings?: Readonly<Record<string, number>>;
}

/** Running extremes of the values of one round. */
function accumulator(values: readonly Observed[]) {
  const min = new Float64Array(values.length).fill(Number.POSITIVE_INFINITY);
  const max = new Float64Array(values.length).fill(Number.NEGATIVE_INFINITY);
  const bad = new Int32Array(values.length);
  const per = REDUCTIONS.length;
  return {
    add(statistics: Dense): void {
      const s = floats(statistics);
      for (let v = 0; v < values.length; v++) {
        const [low, high, sum] = [s[v * per]!, s[v * per + 1]!, s[v * per + 2]!];
        // Minimum and maximum may pass over NaN; a sum of finite numbers can be infinite but not NaN.
        if (Number.isFinite(low) && Number.isFinite(high) && !Number.isNaN(sum)) {
          min[v] = Math.min(min[v]!, low);
          max[v] = Math.max(max[v]!, high);
        } else {
          bad[v]!++;
        }
      }
    },
    into(entries: Map<string, ValueRange>): void {
      for (const [v, { name }] of values.entries()) {
        const finite = bad[v] === 0;
        const low = finite ? min[v]! : Number.NEGATIVE_INFINITY;
        const high = finite ? max[v]! : Number.POSITIVE_INFINITY;
        entries.set(name, { min: low, max: high, absMax: Math.max(-low, high), notFinite: bad[v]! });
      }
    },
  };
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  const out: T[][] = [];
  for (let i = 0; i < items.length; i += size) out.push(items.slice(i, i + size));
  return out;
}

/** One instrumented session after the other; each sees every feed once. */
async function inRounds(
  model: Model,
  runtime: Runtime,
  options: ObserveOptions,
  round: (session: Session, output: string, add: (d: Dense) => void, first: boolean) => Promise<number>,
): Promise<Ranges> {
  const values = observableValues(model, options.bindings);
  const entries = new Map<string, ValueRange>();
  let runs = 0;
  for (const [i, part] of chunks(values, options.valuesPerRound ?? 4096).entries()) {
    const { model: observed, output } = instrument(model, part);
    // Every value has an observer, so nothing could fuse; optimising would only cost seconds of start-up.
    const session = await runtime.openSession(observed, {
      threads: options.threads ?? 1,
      optimize: "disable",
    });
    try {
      const sums = accumulator(part);
      runs = await round(session, output, sums.add, i === 0);
      sums.into(entries);
    } finally {
      await session.release();
    }
  }
  const bad = [...entries].filter(([, r]) => r.notFinite > 0).map(([name]) => name);
  return {
    get: (name) => entries.get(name),
    entries,
    runs,
    diagnostics:
      bad.length === 0
        ? []
        : [
            diagnostic("RANGE_NOT_FINITE", {
              count: bad.length,
              values: bad.slice(0, 8),
            }) as unknown as Diagnostic,
          ],
  };
}

/** Ranges of a model's values over given inputs: for text encoders, decoders, or recorded denoiser inputs. */
export async function observeRanges(
  model: Model,
  runtime: Runtime,
  feeds: readonly ReadonlyMap<string, Dense>[],
  options: ObserveOptions = {},
): Promise<Ranges> {
  return await inRounds(model, runtime, options, async (session, output, add) => {
    for (const f of feeds) add((await session.run(f, [output])).get(output)!);
    return feeds.length;
  });
}

export interface RangeOptions extends ObserveOptions, PlanOptions {
  /** Root of the calibration seeds; default 0. */
  readonly seed?: number;
  /** Trajectories; default 4. */
  readonly samples?: number;
}

/** A denoiser on an instrumented session that hands on the statistics of every run. */
function observedDenoiser(
  session: Session,
  roles: InputRoles,
  output: string,
  onRun: (feeds: ReadonlyMap<string, Dense>, statistics: Dense) => void,
): Denoiser {
  return {
    roles,
    async run(feeds) {
      const parts: Dense[] = [];
      for (const piece of feedPieces(roles, feeds)) {
        const results = await session.run(piece.feeds, [roles.output.name, output]);
        onRun(piece.feeds, results.get(output)!);
        parts.push(rows(denoiserOutput(roles, results, piece.feeds), 0, piece.rows));
      }
      return stack(parts);
    },
  };
}

/**
 * Ranges of every float value of a denoiser along the pipeline's own trajectory: calibration seeds, its scheduler and
 * guidance with both halves, at the resolution it will run at. `model` is the pipeline's denoiser at any stage of a
 * build. The first round drives the trajectory, later ones replay its inputs. Values that overflow are reported, not
 * fatal, unless the trajectory itself breaks (TRAJECTORY_NOT_FINITE).
 */
export async function collectRanges(
  model: Model,
  runtime: Runtime,
  pipeline: Pipeline,
  options: RangeOptions = {},
): Promise<Ranges> {
  pipelineDenoiser(pipeline);
  const replay: ReadonlyMap<string, Dense>[] = [];
  return await inRounds(model, runtime, options, async (session, output, add, first) => {
    if (!first) {
      for (const f of replay) add((await session.run(f, [output])).get(output)!);
      return replay.length;
    }
    const ports = session.outputs.filter((o) => o.name !== output);
    const roles = inputRoles(session.inputs, ports, pipeline.sampling.roles);
    const denoiser = observedDenoiser(session, roles, output, (feeds, statistics) => {
      replay.push(feeds);
      add(statistics);
    });
    const plan = await planTrajectory(pipeline, runtime, denoiser, options);
    await sampleTrajectory({ ...plan, seeds: calibrationSeeds(options.seed ?? 0, options.samples ?? 4) });
    return replay.length;
  });
}
