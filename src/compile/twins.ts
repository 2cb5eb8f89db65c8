import { DiffpressError } from "../diagnostics/index.ts";
import type { Model } from "../ir/graph.ts";
import { readModel } from "../ir/onnx/index.ts";
import { isGraphSet, type Runtime } from "../runtime/index.ts";
import { CPU_LIMITS } from "../targets/cpu-limits.ts";
import { plainTwin, twinnedOperators } from "../targets/twin.ts";

/** What a file holds where the runtime refused it and its twin would run; `null` otherwise. */
async function twinOfRefused(path: string, error: unknown): Promise<Model | null> {
  if (!(error instanceof DiffpressError) || error.code !== "RUNTIME_REJECTED" || isGraphSet(path)) return null;
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

/** Which operators of a model ran as standard ones here, in words; `null` when it ran as it is. */
export function twinNote(model: Model): string | null {
  const found = [...twinnedOperators(model, CPU_LIMITS)].map(([op, count]) => `${count} ${op}`);
  if (found.length === 0) return null;
  return `${found.join(", ")} have no CPU kernel: figures and expected outputs are those of a twin with standard operators in their place`;
}
