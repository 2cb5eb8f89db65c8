import { DiffpressError } from "../diagnostics/index.ts";
import type { Model } from "../ir/graph.ts";
import { readModel } from "../ir/onnx/index.ts";
import { isGraphSet, type Runtime } from "../runtime/index.ts";
import { CPU_LIMITS } from "../targets/cpu-limits.ts";
import { plainTwin, twinnedOperators } from "../targets/twin.ts";

/** What a file holds where the runtime refused it and its twin would run; `null` otherwise. */
async function twinOfRefused(path: string, error: unknown): Promise<Model | null> {
  if (!(error instanceof DiffpressError) || error.code !== "RUNTIME_REJECTED" || isGraphSet(path))
    return null;
  return plainTwin(await readModel(path), CPU_LIMITS);
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
      try {
        return await runtime.openSession(source, options);
      } catch (e) {
        const twin = await twinOfRefused(source, e);
        if (twin === null) throw e;
        return await runtime.openSession(twin, options);
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
