import { DiffpressError } from "../diagnostics/index.ts";
import { modelBytes } from "../ir/weights.ts";
import type { Arithmetic, Runtime } from "../runtime/index.ts";
import type { Target } from "../targets/target.ts";
import { withSession } from "../verify/sessions.ts";
import type { SourceComponent } from "./source.ts";

/** Model bytes up to which a build is run beside the original unasked: two of them fit most machines. */
export const RUNNABLE_BYTES = 2 ** 30;

/** How a build's Q/DQ pairs are computed here: by this processor's kernels only where it is built for them. */
export function arithmeticOf(target: Target): Arithmetic {
  return target.kind === "cpu" ? "fused" : "reference";
}

/** Why a component is not run beside its build, or `null` when it can be. Asked once per component. */
export type Obstacle = (component: SourceComponent) => Promise<string | null>;

/** What the runtime said when it refused a model; `null` for any other error. */
function refusal(e: unknown): string | null {
  return e instanceof DiffpressError && e.diagnostic.code === "RUNTIME_REJECTED" ? e.message : null;
}

/** Looks for obstacles: size, unless `whateverSize`, and originals the runtime at hand cannot load. */
export function findObstacles(runtime: Runtime, whateverSize: boolean): Obstacle {
  const known = new Map<string, Promise<string | null>>();
  const look = async (component: SourceComponent): Promise<string | null> => {
    if (!whateverSize && modelBytes(component.model) > RUNNABLE_BYTES)
      return "the model is large; --verify does it anyway";
    try {
      return await withSession(runtime, component.path, {}, async () => null);
    } catch (e) {
      const reason = refusal(e);
      if (reason === null) throw e;
      return `the original does not run here: ${reason}`;
    }
  };
  return (component) => {
    const name = component.info.name;
    let found = known.get(name);
    if (found === undefined) {
      found = look(component);
      known.set(name, found);
    }
    return found;
  };
}

/**
 * Runs a check of a build on the CPU. A build for another device may use what the CPU has no kernel for: that is a note.
 * For a CPU target a refused build is a failure.
 */
export async function checkHere<T>(
  target: Target,
  check: () => Promise<T>,
): Promise<{ readonly value: T; readonly why: null } | { readonly value: null; readonly why: string }> {
  try {
    return { value: await check(), why: null };
  } catch (e) {
    const reason = refusal(e);
    if (reason === null || target.kind === "cpu") throw e;
    return { value: null, why: `the build does not run on the CPU of this machine: ${reason}` };
  }
}
