import { DiffpressError } from "../diagnostics/index.ts";
import type { Model } from "../ir/graph.ts";
import { readModel } from "../ir/onnx/index.ts";
import { isGraphSet, type Runtime, type Session } from "../runtime/index.ts";
import { CPU_LIMITS } from "../targets/cpu-limits.ts";
import { plainTwin, twinnedOperators } from "../targets/twin.ts";

/** The twin of a file's model where the runtime refused that and the twin would run; `null` otherwise. */
async function twinOfRefused(path: string, error: unknown): Promise<Model | null> {
  if (!(error instanceof DiffpressError) || error.code !== "RUNTIME_REJECTED" || isGraphSet(path))
    return null;
  return plainTwin(await readModel(path), CPU_LIMITS);
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
 * Sessions of other providers are opened as they are.
 */
export function withTwins(runtime: Runtime): Runtime {
  return {
    ...runtime,
    get stats() {
      return runtime.stats;
    },
    async openSession(source, options) {
      if (source instanceof Uint8Array || (options?.provider ?? "cpu") !== "cpu")
        return await runtime.openSession(source, options);
      if (typeof source !== "string")
        return await runtime.openSession(plainTwin(source, CPU_LIMITS) ?? source, options);
      const openTwin = async (e: unknown): Promise<Session | null> => {
        const twin = await twinOfRefused(source, e);
        return twin === null ? null : await runtime.openSession(twin, options);
      };
      try {
        return withFallback(await runtime.openSession(source, options), openTwin);
      } catch (e) {
        const twin = await openTwin(e);
        if (twin === null) throw e;
        return twin;
      }
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
