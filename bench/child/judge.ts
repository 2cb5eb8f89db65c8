/**
 * Judges denoiser files against the pipeline they were made from and prints one line of JSON per file (the fields are
 * `Judged` in `bench/lib/fidelity.ts`).
 *
 *   npx tsx bench/child/judge.ts ../shared/models/cifar-unet out/cpu-x64 ../shared/peers/cifar-unet/ort-dynamic-int8-u8.onnx
 *   npx tsx bench/child/judge.ts PIPELINE MODEL… [--seeds 24] [--batch 8] [--runs 40] [--threads 1] [--steps]
 *   npx tsx bench/child/judge.ts --json '{"pipeline": "…", "models": ["…"], "seeds": 8, "runs": 0}'
 *
 * A MODEL is a `.onnx` file or the folder of a build. Fidelity: the judging seeds of `diffpress verify`, main setting of
 * the pipeline (20 DDIM steps at guidance 2.5 for the trained ones). Speed: batch 16, one thread, the original and every
 * file in turn in one process, onnxruntime's default session settings otherwise. `--seeds 0` or `--runs 0` leave one out.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openPipeline, type Pipeline, pipelineDenoiser } from "../../src/calibrate/pipeline.ts";
import { createRuntime, modelFile } from "../../src/runtime/index.ts";
import { verify } from "../../src/verify/index.ts";
import { JUDGE_DEFAULTS, type Judged, type JudgeInput, modelFileBytes } from "../lib/fidelity.ts";
import { interleaveAll } from "../lib/interleave.ts";
import { median, medianRatio } from "../lib/stats.ts";

function parse(): JudgeInput {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: "string" },
      seeds: { type: "string" },
      batch: { type: "string" },
      runs: { type: "string" },
      threads: { type: "string" },
      steps: { type: "boolean", default: false },
    },
  });
  if (values.json !== undefined) return JSON.parse(values.json) as JudgeInput;
  const [pipeline, ...models] = positionals;
  if (pipeline === undefined || models.length === 0)
    throw new Error(
      "usage: judge.ts PIPELINE MODEL… [--seeds n] [--batch n] [--runs n] [--threads n] [--steps]",
    );
  const counts = (["seeds", "batch", "runs", "threads"] as const).flatMap((name) =>
    values[name] === undefined ? [] : [[name, Number(values[name])] as const],
  );
  return { pipeline, models, ...Object.fromEntries(counts), steps: values.steps };
}

function fileOf(pipeline: Pipeline, model: string): string {
  return statSync(model).isDirectory() ? modelFile(join(model, pipelineDenoiser(pipeline).name)) : model;
}

async function fidelity(pipeline: Pipeline, model: string, input: JudgeInput): Promise<Judged["fidelity"]> {
  const seeds = input.seeds ?? JUDGE_DEFAULTS.seeds;
  if (seeds === 0) return null;
  const runtime = await createRuntime({ workers: 0 });
  try {
    const found = await verify(pipeline, model, {
      runtime,
      seeds,
      settings: [],
      batch: input.batch ?? JUDGE_DEFAULTS.batch,
      threads: input.threads ?? JUDGE_DEFAULTS.threads,
    });
    if (found.kind !== "trajectory") throw new Error(`${input.pipeline} cannot be sampled`);
    const main = found.settings[0]!;
    const { steps } = main.sqnr;
    return {
      sqnrMean: main.sqnr.mean,
      sqnrWorst: main.sqnr.worst.sqnr,
      worstTimestep: main.sqnr.worst.timestep,
      psnrMedian: main.psnr.median,
      psnrP10: main.psnr.p10,
      seeds: main.seeds,
      follows: main.conditioning?.follows ?? null,
      agrees: found.agreement.agrees,
      agreement: found.agreement.mean,
      ...(input.steps === true && {
        timesteps: steps.map((s) => s.timestep),
        curve: steps.map((s) => s.sqnr),
      }),
    };
  } finally {
    await runtime.close();
  }
}

async function speeds(
  pipeline: Pipeline,
  models: readonly string[],
  input: JudgeInput,
): Promise<Judged["speed"][]> {
  const runs = input.runs ?? JUDGE_DEFAULTS.runs;
  if (runs === 0) return models.map(() => null);
  const [original, ...others] = await interleaveAll({
    models: [pipelineDenoiser(pipeline).model, ...models],
    threads: input.threads ?? JUDGE_DEFAULTS.threads,
    dims: { ...JUDGE_DEFAULTS.dims, ...input.dims },
    warmup: input.warmup ?? JUDGE_DEFAULTS.warmup,
    runs,
  });
  return others.map((seconds) => {
    const ratio = medianRatio(original!, seconds);
    return {
      seconds: median(seconds),
      originalSeconds: median(original!),
      ratio: ratio.median,
      low: ratio.low,
      high: ratio.high,
      runs,
    };
  });
}

const input = parse();
const pipeline = await openPipeline(input.pipeline);
const models = input.models.map((m) => fileOf(pipeline, m));
const speed = await speeds(pipeline, models, input);
for (const [i, model] of models.entries()) {
  const judged: Judged = {
    model,
    bytes: modelFileBytes(model),
    fidelity: await fidelity(pipeline, model, input),
    speed: speed[i]!,
  };
  console.log(JSON.stringify(judged));
}
