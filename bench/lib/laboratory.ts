import { openPipeline } from "../../src/calibrate/index.ts";
import {
  collectStatistics,
  type Oracle,
  openOracle,
  type Statistics,
  type StatisticsRequest,
} from "../../src/calibrate/statistics/index.ts";
import { cloneModel } from "../../src/ir/clone.ts";
import { graphCost } from "../../src/ir/cost.ts";
import type { Model } from "../../src/ir/graph.ts";
import { inferShapes } from "../../src/ir/infer.ts";
import type { Json } from "../../src/ir/tensor.ts";
import { resolvePass } from "../../src/passes/index.ts";
import type { Decision } from "../../src/passes/pass.ts";
import { runPass } from "../../src/passes/runner.ts";
import { createRuntime } from "../../src/runtime/index.ts";
import { target } from "../../src/targets/index.ts";
import type { Dims } from "./feeds.ts";
import { exactModel } from "./quality.ts";

/** One pass with options that differ from the defaults. */
export interface Step {
  readonly pass: string;
  readonly options: Readonly<Record<string, Json>>;
}

/** What one pass did to a model, judged on trajectories that calibrated nothing. */
export interface Outcome {
  /** Teacher-forced SQNR of the guided output in dB. */
  readonly mean: number;
  readonly worst: number;
  /** Share of the whole model's operations that is left. */
  readonly flops: number;
  readonly decisions: readonly Decision[];
}

/** A trained denoiser that passes are tried on in one process: its trajectory is sampled once for all of them. */
export interface Laboratory {
  /** Applies one pass to a copy of the exact build and judges it. */
  trial(step: Step): Promise<Outcome>;
  close(): Promise<void>;
}

/** Trajectories that calibrate and that judge; calls of the latter. */
const SAMPLES = { calibration: 8, judging: 8, calls: 10 };

function complete({ pass, options }: Step): Json {
  const properties = resolvePass(pass).options["properties"] as Readonly<
    Record<string, { readonly default: Json }>
  >;
  return { ...Object.fromEntries(Object.entries(properties).map(([k, v]) => [k, v.default])), ...options };
}

/** Samples a pipeline and collects what the given steps will ask for. */
export async function openLaboratory(o: {
  readonly source: string;
  readonly component: string;
  readonly dims: Dims;
  readonly scratch: string;
  readonly steps: readonly Step[];
}): Promise<Laboratory> {
  const base = await exactModel(o.source, o.component, o.scratch);
  const runtime = await createRuntime({ workers: 2 });
  const pipeline = await openPipeline(o.source);
  const cpu = target("cpu-x64");
  const ctx = { model: base, target: cpu, shapes: () => inferShapes(base) };
  const grams = new Map<string, StatisticsRequest["grams"][number]>();
  for (const s of o.steps)
    for (const g of resolvePass(s.pass).wantsStatistics?.(base.graph, complete(s), ctx)?.grams ?? [])
      grams.set(g.layer, g);
  const request: StatisticsRequest = { values: [], grams: [...grams.values()] };
  const { calibration, judging, calls } = SAMPLES;
  const statistics: Statistics = await collectStatistics(base, runtime, pipeline, request, {
    samples: calibration,
  });
  const original = pipeline.denoiser!.model;
  const oracle: Oracle = await openOracle(original, runtime, pipeline, { samples: calibration, maxCalls: 6 });
  const judge: Oracle = await openOracle(original, runtime, pipeline, {
    samples: judging,
    maxCalls: calls,
    seed: 1,
  });
  const flops = (m: Model): number => graphCost(m, { bindings: o.dims }).flops;
  const before = flops(base);
  return {
    async trial(step) {
      const model = cloneModel(base);
      const report = await runPass(model, resolvePass(step.pass), complete(step), {
        evaluator: runtime.evaluator,
        reader: runtime.reader,
        target: cpu,
        seed: 0,
        ranges: null,
        statistics,
        oracle,
        trail: [],
      });
      const { mean, worst } = await judge.errors(model);
      return { mean, worst, flops: flops(model) / before, decisions: report!.decisions };
    },
    close: () => runtime.close(),
  };
}
