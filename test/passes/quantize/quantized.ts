import type { Statistics } from "../../../src/calibrate/statistics/types.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { verifyModel } from "../../../src/ir/verify.ts";
import type { Decision, Pass } from "../../../src/passes/pass.ts";
import { runPass } from "../../../src/passes/runner.ts";
import type { SessionOptions } from "../../../src/runtime/index.ts";
import type { Target } from "../../../src/targets/target.ts";
import { floats, runtime } from "../harness.ts";
import { type FedCall, valuesOver } from "./statistics.ts";

/** Runs a quantizing pass with the statistics it asks for, over given calls; the result must verify. */
export async function quantize<O>(
  model: Model,
  pass: Pass<O>,
  o: { readonly options?: Partial<O>; readonly target: Target | null; readonly calls: readonly FedCall[] },
): Promise<readonly Decision[]> {
  const rt = await runtime();
  const { target, calls } = o;
  const properties = (pass.options["properties"] ?? {}) as Record<string, { default?: unknown }>;
  const defaults = Object.fromEntries(Object.entries(properties).map(([k, v]) => [k, v.default]));
  const options = { ...defaults, ...o.options } as O;
  const shapes = inferShapes(model);
  const request = pass.wantsStatistics?.(model.graph, options, { model, target, shapes: () => shapes });
  const statistics: Statistics | null =
    request === null || request === undefined ? null : await valuesOver(model, request, calls, rt);
  const report = await runPass(model, pass as Pass, options as never, {
    evaluator: rt.evaluator,
    reader: rt.reader,
    target,
    seed: 0,
    statistics,
    ranges: null,
    trail: [],
  });
  const errors = verifyModel(model).filter((d) => d.severity === "error");
  if (errors.length > 0) throw new Error(errors.map((e) => e.message).join("\n"));
  return report!.decisions;
}

/** First outputs of a model on feeds. */
export async function outputsOn(
  model: Model,
  feeds: readonly ReadonlyMap<string, Dense>[],
  options: SessionOptions = { optimize: "disable" },
): Promise<Float32Array[]> {
  const session = await (await runtime()).openSession(model, options);
  try {
    const out: Float32Array[] = [];
    for (const f of feeds) out.push(floats([...(await session.run(f)).values()][0]!));
    return out;
  } finally {
    await session.release();
  }
}

/** Σ signal² over Σ difference² in dB. */
export function sqnr(exact: readonly Float32Array[], found: readonly Float32Array[]): number {
  let [signal, noise] = [0, 0];
  for (const [i, a] of exact.entries())
    for (const [k, v] of a.entries()) {
      signal += v * v;
      noise += (v - found[i]![k]!) ** 2;
    }
  return 10 * Math.log10(signal / noise);
}
