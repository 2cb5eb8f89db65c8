import type { Oracle, Statistics } from "../../../src/calibrate/statistics/types.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { verifyModel } from "../../../src/ir/verify.ts";
import type { Decision, Pass } from "../../../src/passes/pass.ts";
import { runPass } from "../../../src/passes/runner.ts";
import type { Target } from "../../../src/targets/target.ts";
import { runtime } from "../harness.ts";
import { statisticsOver } from "../quantize/statistics.ts";

/** Runs a factorization with statistics over every position of the given feeds; the result must verify. */
export async function factorize<O>(
  model: Model,
  pass: Pass<O>,
  o: {
    readonly options?: Partial<O>;
    readonly target?: Target | null;
    readonly feeds?: readonly ReadonlyMap<string, Dense>[];
    readonly oracle?: Oracle | null;
  },
): Promise<readonly Decision[]> {
  const rt = await runtime();
  const target = o.target ?? null;
  const properties = pass.options["properties"] as Record<string, { default?: unknown }>;
  const defaults = Object.fromEntries(Object.entries(properties).map(([k, v]) => [k, v.default]));
  const options = { ...defaults, minElements: 16, guards: false, ...o.options } as O;
  const request = pass.wantsStatistics?.(model.graph, options, {
    model,
    target,
    shapes: () => inferShapes(model),
  });
  const statistics: Statistics | null =
    o.feeds === undefined || request === null || request === undefined
      ? null
      : await statisticsOver(model, request, o.feeds, rt);
  const report = await runPass(model, pass as Pass, options as never, {
    evaluator: rt.evaluator,
    reader: rt.reader,
    target,
    seed: 0,
    ranges: null,
    statistics,
    oracle: o.oracle ?? null,
    trail: [],
  });
  const errors = verifyModel(model).filter((d) => d.severity === "error");
  if (errors.length > 0) throw new Error(errors.map((e) => e.message).join("\n"));
  return report!.decisions;
}

/** Σ signal² over Σ difference² in dB of two outputs, with channels at `axis` about their mean where `centre` says so. */
export function outputSqnr(
  exact: readonly Dense[],
  found: readonly Dense[],
  o: { readonly axis: number; readonly centre: boolean },
): number {
  const values = (d: Dense): Float32Array => new Float32Array(d.bytes.slice().buffer);
  const { dims } = exact[0]!;
  const channels = dims[o.axis]!;
  const inner = dims.slice(o.axis + 1).reduce((a, b) => a * b, 1);
  const of = (i: number): number => Math.floor(i / inner) % channels;
  const mean = new Float64Array(channels);
  const all = exact.reduce((n, d) => n + values(d).length, 0);
  if (o.centre)
    for (const d of exact) for (const [i, v] of values(d).entries()) mean[of(i)]! += (v * channels) / all;
  let [signal, noise] = [0, 0];
  for (const [k, d] of exact.entries()) {
    const other = values(found[k]!);
    for (const [i, v] of values(d).entries()) {
      signal += (v - mean[of(i)]!) ** 2;
      noise += (v - other[i]!) ** 2;
    }
  }
  return 10 * Math.log10(signal / noise);
}

/** Outputs by name on feeds. */
export async function run(
  model: Model,
  feeds: readonly ReadonlyMap<string, Dense>[],
): Promise<Map<string, Dense>[]> {
  const session = await (await runtime()).openSession(model, { optimize: "disable" });
  try {
    const out: Map<string, Dense>[] = [];
    for (const f of feeds) out.push(await session.run(f));
    return out;
  } finally {
    await session.release();
  }
}
