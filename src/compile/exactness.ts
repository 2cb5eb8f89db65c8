import { fail } from "../diagnostics/index.ts";
import type { Dense } from "../ir/evaluator.ts";
import type { Model } from "../ir/graph.ts";
import type { Bindings } from "../passes/pass.ts";
import type { Exactness } from "../report/types.ts";
import type { Runtime, SessionOptions } from "../runtime/index.ts";
import { compareOnInputs, seededInputs } from "../verify/index.ts";
import { fixedDims, withSession } from "../verify/sessions.ts";
import type { SourceComponent } from "./source.ts";

/**
 * Largest output error over the output's largest magnitude that counts as float rounding: reordered fp32 sums over a
 * few thousand layers stay two orders below it, and a wrong rewrite is far above.
 */
const EXACT_LIMIT = 1e-4;

/** Unoptimised on both sides: the check is about our rewrites, not about the runtime's. */
const PLAIN: SessionOptions = { optimize: "disable" };

/** What {@link proveExact} compares and where it is in the build. */
export interface ExactnessCheck {
  readonly runtime: Runtime;
  readonly component: SourceComponent;
  readonly target: string;
  /** The model after exact passes only. */
  readonly exact: Model;
  /** Inputs that came with the pipeline; without any, seeded ones are made. */
  readonly reference: readonly ReadonlyMap<string, Dense>[];
  /** Lengths of open dims for seeded inputs. */
  readonly bindings: Bindings;
  readonly seed: number;
}

/** Runs the original and the model after exact passes on the same inputs. Errors: EXACT_DIFFERS, RUNTIME_REJECTED. */
export async function proveExact(check: ExactnessCheck): Promise<Exactness> {
  const { runtime, component, target, reference } = check;
  const name = component.info.name;
  return await withSession(runtime, component.path, PLAIN, (before) =>
    withSession(runtime, check.exact, PLAIN, async (after) => {
      const bindings = { ...check.bindings, ...fixedDims(before, after) };
      const sets =
        reference.length > 0 ? reference : [seededInputs(before.inputs, { seed: check.seed, bindings })];
      const { outputs, maxRel } = await compareOnInputs(before, after, sets);
      const worst = outputs.find((o) => !(o.maxRel <= EXACT_LIMIT));
      if (worst !== undefined)
        fail("EXACT_DIFFERS", {
          component: name,
          target,
          output: worst.name,
          error: worst.maxRel,
          limit: EXACT_LIMIT,
        });
      const inputs = reference.length > 0 ? "reference" : "seeded";
      return { component: name, error: maxRel, limit: EXACT_LIMIT, inputs };
    }),
  );
}
