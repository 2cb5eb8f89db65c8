import { DiffpressError } from "../diagnostics/index.ts";
import type { Model } from "../ir/graph.ts";
import { readModel } from "../ir/onnx/index.ts";
import {
  isGraphSet,
  openGraphSet,
  type Runtime,
  type Session,
  type SessionOptions,
} from "../runtime/index.ts";
import { CPU_LIMITS } from "../targets/cpu-limits.ts";
import { roundedTwin } from "../targets/rounded.ts";
import { plainTwin, twinnedOperators } from "../targets/twin.ts";

/** Whether the runtime refused a model that its twin may run in the place of. */
const isRefusal = (error: unknown): boolean =>
  error instanceof DiffpressError && error.code === "RUNTIME_REJECTED";

/** A model that ran as its twin: its file, or the name of its graph, and the operators that had no kernel. */
export interface Twinned {
  readonly model: string;
  readonly operators: readonly string[];
}

/** A session that goes on with the twin when the runtime refuses the model only once it runs. */
function withFallback(session: Session, open: (error: unknown) => Promise<Session | null>): Session {
  let twin: Promise<Session | null> | null = null;
  return {
    ...session,
    async run(feeds, fetches) {
      const known = twin === null ? null : await twin;
      if (known !== null) return await known.run(feeds, fetches);
      try {
        return await session.run(feeds, fetches);
      } catch (e) {
        twin ??= open(e);
        const instead = await twin;
        if (instead === null) throw e;
        return await instead.run(feeds, fetches);
      }
    },
    async release() {
      await session.release();
      await (await twin)?.release();
    },
  };
}

/**
 * A runtime that runs the plain twin of a model in its place where the model has operators without a CPU kernel: builds
 * for other devices are observed, judged and proven by what they say. Names of values and results are the model's own.
 * In `reference` arithmetic values of half precision are rounded as the model says, which the runtime alone would not do.
 * Sessions of other providers are opened as they are. `onTwin` is told of every session that is a twin's.
 */
export function withTwins(runtime: Runtime, onTwin: (twinned: Twinned) => void = () => {}): Runtime {
  const twinOf = (model: Model): Model | null => {
    const twin = plainTwin(model, CPU_LIMITS);
    if (twin !== null) onTwin({ model: model.path ?? model.graph.name, operators: twinnedHere(model) });
    return twin;
  };
  const asWritten = (model: Model, options?: SessionOptions): Model => {
    const runs = twinOf(model) ?? model;
    return (options?.arithmetic === "reference" ? roundedTwin(runs) : null) ?? runs;
  };
  const openFile = async (path: string, options?: SessionOptions): Promise<Session> => {
    if (options?.arithmetic === "reference") {
      const model = await readModel(path);
      const runs = asWritten(model, options);
      if (runs !== model) return await runtime.openSession(runs, options);
    }
    const openTwin = async (e: unknown): Promise<Session | null> => {
      const twin = isRefusal(e) ? twinOf(await readModel(path)) : null;
      return twin === null ? null : await runtime.openSession(twin, options);
    };
    try {
      return withFallback(await runtime.openSession(path, options), openTwin);
    } catch (e) {
      const twin = await openTwin(e);
      if (twin === null) throw e;
      return twin;
    }
  };
  return {
    ...runtime,
    get stats() {
      return runtime.stats;
    },
    async openSession(source, options) {
      if (source instanceof Uint8Array || (options?.provider ?? "cpu") !== "cpu")
        return await runtime.openSession(source, options);
      if (typeof source !== "string") return await runtime.openSession(asWritten(source, options), options);
      return isGraphSet(source)
        ? await openGraphSet(source, options, openFile)
        : await openFile(source, options);
    },
  };
}

/** Operators of a model that run as standard ones here. */
export function twinnedHere(model: Model): readonly string[] {
  return [...twinnedOperators(model, CPU_LIMITS).keys()];
}

/** For reports: that figures of a build are those of its twin, or that the original ran as its own. */
export function twinNotes(o: { readonly original: Model; readonly build: readonly string[] }): string[] {
  const original = twinnedHere(o.original);
  const place = "a twin with standard operators in their place";
  return [
    ...(original.length === 0
      ? []
      : [`no CPU kernel for ${original.join(", ")} of the original: it was run as ${place}`]),
    ...(o.build.length === 0
      ? []
      : [`no CPU kernel for ${o.build.join(", ")}: figures and expected outputs are those of ${place}`]),
  ];
}
