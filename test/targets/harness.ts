import type { Oracle } from "../../src/calibrate/statistics/types.ts";
import type { Model } from "../../src/ir/graph.ts";
import { inferShapes } from "../../src/ir/infer.ts";
import { verifyModel } from "../../src/ir/verify.ts";
import type { Decision, Pass, RangeStatistics } from "../../src/passes/pass.ts";
import { runPass } from "../../src/passes/runner.ts";
import type { Target } from "../../src/targets/target.ts";
import { runtime } from "../passes/harness.ts";

/** What a pass under test runs with. */
export interface Setting {
  readonly target?: Target | null;
  readonly oracle?: Oracle | null;
  /** Why the model is known to overflow in fp16. */
  readonly halfUnsafe?: string;
  /** Largest magnitude per value name; values not named have magnitude 1. */
  readonly peaks?: Readonly<Record<string, number>>;
}

function rangesOf(peaks: Readonly<Record<string, number>>): RangeStatistics {
  return {
    get: (name) => {
      const peak = peaks[name] ?? 1;
      return { min: -peak, max: peak };
    },
  };
}

/** Runs one pass with the product's runner and returns its decisions; the result must verify. */
export async function run<O>(
  model: Model,
  pass: Pass<O>,
  options: Partial<O> = {},
  setting: Setting = {},
): Promise<readonly Decision[]> {
  const rt = await runtime();
  const properties = (pass.options["properties"] ?? {}) as Record<string, { default?: unknown }>;
  const defaults = Object.fromEntries(Object.entries(properties).map(([k, v]) => [k, v.default]));
  const report = await runPass(
    model,
    pass as Pass,
    { ...defaults, ...options },
    {
      evaluator: rt.evaluator,
      reader: rt.reader,
      target: setting.target ?? null,
      seed: 0,
      ...(setting.halfUnsafe !== undefined && { halfUnsafe: setting.halfUnsafe }),
      oracle: setting.oracle ?? null,
      ranges: setting.peaks === undefined ? null : rangesOf(setting.peaks),
      trail: [],
    },
  );
  if (report === null) throw new Error("the pass did not run");
  const errors = verifyModel(model).filter((d) => d.severity === "error");
  if (errors.length > 0) throw new Error(errors.map((e) => e.message).join("\n"));
  return report.decisions;
}

/** Element type of a named value as shape inference sees it. */
export function dtypeOfValue(model: Model, name: string): string | null {
  for (const v of model.graph.values()) if (v.name === name) return inferShapes(model).dtype(v.id);
  throw new Error(`no value ${name}`);
}
