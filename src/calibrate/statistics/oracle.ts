import type { Dense } from "../../ir/evaluator.ts";
import type { Model } from "../../ir/graph.ts";
import { energies, ratioDb } from "../../numeric/energy.ts";
import { mean } from "../../numeric/stats.ts";
import type { Arithmetic, Runtime, Session, SessionOptions } from "../../runtime/index.ts";
import { type Denoiser, sessionDenoiser } from "../denoiser.ts";
import { rows, stack } from "../dense.ts";
import { guide, splitVariance } from "../guidance.ts";
import type { Pipeline } from "../pipeline.ts";
import { openTeacher, type Teacher, type TeacherOptions } from "./teacher.ts";
import type { CallErrors, Oracle, OracleCall } from "./types.ts";

/** How much is recorded. */
export interface RecordOptions {
  /** Calls recorded, spread evenly over the trajectory; default all. */
  readonly maxCalls?: number;
  /** Bytes of inputs and outputs recorded; where all calls take more, fewer are. Default unlimited. */
  readonly maxBytes?: number;
}

/** Options of {@link openOracle}. */
export interface OracleOptions extends TeacherOptions, RecordOptions {}

/**
 * Records the original's calls along the calibration trajectory. Unlike statistics it keeps inputs and outputs, so its
 * memory grows with samples times calls. Fails with what sampling fails with.
 */
export async function openOracle(
  original: string | Model,
  runtime: Runtime,
  pipeline: Pipeline,
  options: OracleOptions = {},
): Promise<Oracle> {
  const teacher = await openTeacher(runtime, pipeline, { ...options, original });
  try {
    return await recordOracle(teacher, runtime, pipeline, options);
  } finally {
    await teacher.release();
  }
}

/** Which of `total` calls are kept: the first, the last and those evenly between. */
function keptCalls(total: number, most: number): ReadonlySet<number> {
  if (most >= total) return new Set(Array.from({ length: total }, (_, i) => i));
  if (most <= 1) return new Set([total >> 1]);
  return new Set(Array.from({ length: most }, (_, i) => Math.round((i * (total - 1)) / (most - 1))));
}

/** Calls that fit the options, at least one. */
function mostCalls(teacher: Teacher, options: RecordOptions): number {
  const bytes = (d: Dense): number => d.bytes.length;
  const sample = teacher.example.get(teacher.roles.sample.name)!;
  // The output is about as large as the sample.
  const each = [...teacher.example.values(), sample].reduce((n, d) => n + bytes(d), 0);
  const samples = teacher.groups.reduce((a, b) => a + b, 0) / teacher.groups[0]!;
  const fitting = Math.floor((options.maxBytes ?? Number.POSITIVE_INFINITY) / (each * samples));
  return Math.max(1, Math.min(options.maxCalls ?? Number.POSITIVE_INFINITY, fitting));
}

/** As {@link openOracle}, with a teacher that is already there. */
export async function recordOracle(
  teacher: Teacher,
  runtime: Runtime,
  pipeline: Pipeline,
  options: RecordOptions = {},
): Promise<Oracle> {
  const { halves, roles, guidance } = teacher;
  const kept = keptCalls(teacher.calls.length, mostCalls(teacher, options));
  const parts = new Map<number, { feeds: ReadonlyMap<string, Dense>[]; outputs: Dense[] }>();
  await teacher.record(async ({ call, feeds }, { output }) => {
    if (!kept.has(call)) return;
    const at = parts.get(call) ?? { feeds: [], outputs: [] };
    parts.set(call, at);
    at.feeds.push(feeds);
    at.outputs.push(output);
  });
  const batched = new Set([
    roles.sample.name,
    ...roles.conditions.filter((c) => c.batched).map((c) => c.name),
    ...(roles.timestep.layout === "batch" ? [roles.timestep.name] : []),
  ]);
  const calls = [...parts].map(([index, part]): OracleCall => {
    const feeds = new Map(
      [...part.feeds[0]!.keys()].map((name) => [
        name,
        batched.has(name)
          ? joinHalves(
              part.feeds.map((f) => f.get(name)!),
              halves,
            )
          : part.feeds[0]!.get(name)!,
      ]),
    );
    return {
      ...teacher.calls[index]!,
      feeds,
      outputs: new Map([[roles.output.name, joinHalves(part.outputs, halves)]]),
    };
  });
  const open = (model: Model, options: SessionOptions = {}): Promise<Session> =>
    runtime.openSession(model, { threads: 1, ...options });
  const chunk = teacher.groups[0]! / halves;
  return {
    calls,
    guidance: guidance.scale,
    halves,
    output: roles.output.name,
    open,
    async errors(candidate, picked) {
      const owned = "run" in candidate ? null : await open(candidate);
      try {
        const denoiser = sessionDenoiser(owned ?? (candidate as Session), pipeline.sampling.roles);
        const at = {
          halves,
          scale: guidance.scale,
          output: roles.output.name,
          sample: roles.sample.name,
          batched,
          chunk,
        };
        return await errorsOf(denoiser, picked === undefined ? calls : picked.map((i) => calls[i]!), at);
      } finally {
        await owned?.release();
      }
    },
  };
}

/** The oracle with candidates computed in another arithmetic unless a call says otherwise. */
export function judgingIn(oracle: Oracle, arithmetic: Arithmetic): Oracle {
  const open: Oracle["open"] = (model, options) => oracle.open(model, { arithmetic, ...options });
  return {
    ...oracle,
    open,
    async errors(candidate, picked) {
      if ("run" in candidate) return await oracle.errors(candidate, picked);
      const session = await open(candidate);
      try {
        return await oracle.errors(session, picked);
      } finally {
        await session.release();
      }
    },
  };
}

/** Batches of groups as one batch: all unconditional rows, then all conditional ones. */
function joinHalves(parts: readonly Dense[], halves: 1 | 2): Dense {
  if (halves === 1 || parts.length === 1) return stack(parts);
  const half = (d: Dense, h: 0 | 1): Dense => {
    const n = d.dims[0]! / 2;
    return rows(d, h * n, (h + 1) * n);
  };
  return stack([...parts.map((p) => half(p, 0)), ...parts.map((p) => half(p, 1))]);
}

/** How recorded calls are laid out. */
interface Layout {
  readonly halves: 1 | 2;
  readonly scale: number;
  readonly output: string;
  readonly sample: string;
  readonly batched: ReadonlySet<string>;
  /** Trajectories a candidate runs at once. */
  readonly chunk: number;
}

/** Rows of trajectories `from` to `to`, both halves. */
function cut(d: Dense, halves: 1 | 2, from: number, to: number): Dense {
  const n = d.dims[0]! / halves;
  if (from === 0 && to === n) return d;
  return stack(Array.from({ length: halves }, (_, h) => rows(d, h * n + from, h * n + to)));
}

async function errorsOf(denoiser: Denoiser, calls: readonly OracleCall[], at: Layout): Promise<CallErrors> {
  const signal = new Float64Array(calls.length);
  const noise = new Float64Array(calls.length);
  for (const [i, call] of calls.entries()) {
    const expected = call.outputs.get(at.output)!;
    const count = expected.dims[0]! / at.halves;
    for (let from = 0; from < count; from += at.chunk) {
      const to = Math.min(count, from + at.chunk);
      const feeds = new Map(
        [...call.feeds].map(([name, d]) => [name, at.batched.has(name) ? cut(d, at.halves, from, to) : d]),
      );
      const found = await denoiser.run(feeds);
      const reference = guide(cut(expected, at.halves, from, to), at.halves, at.scale);
      // A learned variance is no part of the comparison.
      const { prediction } = splitVariance(found, reference.length / (to - from));
      const candidate = guide(prediction, at.halves, at.scale);
      const e = energies(reference, candidate);
      signal[i]! += e.signal;
      noise[i]! += e.noise;
    }
  }
  const sqnr = signal.map((s, i) => ratioDb(s, noise[i]!));
  return { signal, noise, sqnr, mean: mean(sqnr), worst: sqnr.reduce((a, b) => Math.min(a, b)) };
}
