import { type Fixture, feedsFor, fixture } from "../../../../fixtures/build/index.ts";
import { denseFrom, floats } from "../../../../src/calibrate/index.ts";
import type { Oracle, Statistics } from "../../../../src/calibrate/statistics/types.ts";
import type { Dense } from "../../../../src/ir/evaluator.ts";
import type { Model } from "../../../../src/ir/graph.ts";
import { inferShapes } from "../../../../src/ir/infer.ts";
import { passGroups, resolvePass } from "../../../../src/passes/index.ts";
import type { Decision, Pass } from "../../../../src/passes/pass.ts";
import type { QuantizeStaticOptions } from "../../../../src/passes/quantize/static/options.ts";
import { quantizeStatic } from "../../../../src/passes/quantize/static/quantize-static.ts";
import { type RunnerOptions, runPass } from "../../../../src/passes/runner.ts";
import { target } from "../../../../src/targets/index.ts";
import { legalisePlan } from "../../../../src/targets/legalise.ts";
import { runtime } from "../../harness.ts";
import { statisticsOver } from "../statistics.ts";

export type Options = Partial<QuantizeStaticOptions>;

/** Timesteps of the test trajectories; ranges grow with them. */
export const TIMESTEPS = [900, 700, 500, 300, 100];

const cpu = target("cpu-x64");

function defaults(pass: Pass): Record<string, unknown> {
  const properties = (pass.options["properties"] ?? {}) as Record<string, { default?: unknown }>;
  return Object.fromEntries(Object.entries(properties).map(([k, v]) => [k, v.default]));
}

async function runner(): Promise<Omit<RunnerOptions, "trail">> {
  const { evaluator, reader } = await runtime();
  return { evaluator, reader, target: cpu, seed: 0, ranges: null };
}

/** A fixture as the compiler hands it to the pass: cleaned and in the target's spelling. */
export async function prepared(f: Fixture): Promise<Model> {
  const model = f.build();
  const steps = [...passGroups["clean"]!.map((name) => ({ name, options: {} })), ...legalisePlan(cpu)];
  for (const { name, options } of steps) {
    const pass = resolvePass(name);
    await runPass(model, pass, { ...defaults(pass), ...options } as never, {
      ...(await runner()),
      trail: [],
    });
  }
  return model;
}

/** One call per timestep: seeded inputs, samples larger the noisier the step. */
export function trajectory(f: Fixture, model: Model): Map<string, Dense>[] {
  return TIMESTEPS.map((t, i) => {
    const feeds = feedsFor(f, model, i + 1);
    for (const [name, d] of feeds) {
      if (name === "timestep")
        feeds.set(name, denseFrom("i64", d.dims, new Array<number>(d.dims[0] ?? 1).fill(t)));
      else if (d.dtype === "f32" && d.dims.length === 4)
        feeds.set(
          name,
          denseFrom(
            "f32",
            d.dims,
            floats(d).map((v) => (v * (200 + t)) / 500),
          ),
        );
    }
    return feeds;
  });
}

const complete = (o: Options): QuantizeStaticOptions =>
  ({ ...defaults(quantizeStatic as unknown as Pass), minElements: 1, faster: false, ...o }) as never;

/** What the pass asks for, over the calls. */
export async function statisticsFor(
  model: Model,
  options: Options,
  calls: { readonly feeds: readonly ReadonlyMap<string, Dense>[]; readonly timesteps: readonly number[] },
): Promise<Statistics> {
  const ctx = { model, target: cpu, shapes: () => inferShapes(model) };
  const request = quantizeStatic.wantsStatistics!(model.graph, complete(options), ctx)!;
  return await statisticsOver(model, request, calls.feeds, await runtime(), calls.timesteps);
}

/** Runs the pass and returns what it decided. */
export async function quantize(
  model: Model,
  options: Options,
  given: { readonly statistics: Statistics | null; readonly oracle?: Oracle | null },
): Promise<readonly Decision[]> {
  const report = await runPass(model, quantizeStatic as unknown as Pass, complete(options), {
    ...(await runner()),
    ...given,
    trail: [],
  });
  return report?.decisions ?? [];
}

/** A prepared fixture with its calls, statistics and quantized form. */
export async function quantizedFixture(name: string, options: Options = {}) {
  const f = fixture(name);
  const before = await prepared(f);
  const model = await prepared(f);
  const feeds = trajectory(f, before);
  const statistics = await statisticsFor(model, options, { feeds, timesteps: TIMESTEPS });
  const decisions = await quantize(model, options, { statistics });
  return { before, model, feeds, statistics, decisions };
}

/** The first output on every feed, one after the other. */
export async function outputsOn(
  model: Model,
  feeds: readonly ReadonlyMap<string, Dense>[],
  options: {
    readonly optimize?: "all" | "disable";
    readonly config?: Readonly<Record<string, string>>;
  } = {},
): Promise<Float32Array> {
  const session = await (await runtime()).openSession(model, options);
  const parts: Float32Array[] = [];
  for (const f of feeds) parts.push(floats([...(await session.run(f)).values()][0]!));
  await session.release();
  const all = new Float32Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return all;
}

/** 10·log10 of the power of `x` over that of `y − x`. */
export function sqnr(x: Float32Array, y: Float32Array): number {
  let [signal, noise] = [0, 0];
  for (const [i, v] of x.entries()) {
    signal += v * v;
    noise += (v - y[i]!) ** 2;
  }
  return 10 * Math.log10(signal / noise);
}
