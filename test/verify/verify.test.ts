import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fixture } from "../../fixtures/build/index.ts";
import { openPipeline } from "../../src/calibrate/pipeline.ts";
import { DiffpressError } from "../../src/diagnostics/index.ts";
import { ModelBuilder } from "../../src/ir/build.ts";
import { cloneModel } from "../../src/ir/clone.ts";
import type { Model } from "../../src/ir/graph.ts";
import { writeModel } from "../../src/ir/onnx/index.ts";
import { PatchBuilder } from "../../src/ir/patch.ts";
import { f32Tensor } from "../../src/ir/tensor.ts";
import { createRuntime, type Runtime } from "../../src/runtime/index.ts";
import { compareOnInputs, seededInputs, type TrajectoryResult, verify } from "../../src/verify/index.ts";

let runtime: Runtime;
let dir: string;
let pipeline: string;

const QUICK = { effort: "quick", seeds: 2, batch: 2 } as const;

beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
  dir = await mkdtemp(join(tmpdir(), "diffpress-verify-"));
  pipeline = join(dir, "pipeline");
  await mkdir(join(pipeline, "unet"), { recursive: true });
  await mkdir(join(pipeline, "scheduler"));
  const json = (file: string, value: unknown) => writeFile(join(pipeline, file), JSON.stringify(value));
  await json("model_index.json", {
    _class_name: "StableDiffusionPipeline",
    unet: ["diffusers", "OnnxRuntimeModel"],
    scheduler: ["diffusers", "DDIMScheduler"],
  });
  await json("scheduler/scheduler_config.json", {
    _class_name: "DDIMScheduler",
    beta_schedule: "scaled_linear",
    beta_start: 0.00085,
    beta_end: 0.012,
    clip_sample: false,
    prediction_type: "epsilon",
    num_train_timesteps: 1000,
  });
  await json("unet/config.json", { in_channels: 4, sample_size: 8 });
  const rows = (v: number) => [
    Array.from({ length: 3 }, (_, i) => Array.from({ length: 6 }, (_, j) => v * Math.sin(i + j + v))),
  ];
  await json("diffpress.json", {
    steps: 3,
    guidance: 2,
    conditions: [
      { name: "a", inputs: { encoder_hidden_states: rows(1) } },
      { name: "b", inputs: { encoder_hidden_states: rows(2) } },
    ],
    unconditional: { inputs: { encoder_hidden_states: rows(0) } },
  });
  await writeModel(fixture("tiny-unet").build(), join(pipeline, "unet/model.onnx"), {
    reader: runtime.reader,
  });
});
afterAll(async () => {
  await runtime.close();
  await rm(dir, { recursive: true, force: true });
});

/** The tiny U-Net with its output replaced by a function of it. */
function edited(change: (patch: PatchBuilder, model: Model) => void): Model {
  const model = cloneModel(fixture("tiny-unet").build());
  const patch = new PatchBuilder(model.graph, "edit");
  change(patch, model);
  model.graph.apply(patch.build());
  return model;
}

function gain(factor: number): Model {
  return edited((patch, model) => {
    const out = model.graph.producer(model.graph.outputs[0])!;
    const [raw] = patch.node({ op: out.op, inputs: out.inputs, attrs: Object.fromEntries(out.attrs) });
    const scale = patch.constant(f32Tensor([factor], []));
    const [scaled] = patch.node({ op: "Mul", inputs: [raw, scale] });
    patch.redirect(out.outputs[0]!, scaled).remove(out.id);
  });
}

async function judged(candidate: string | Model): Promise<TrajectoryResult> {
  const result = await verify(pipeline, candidate, { runtime, ...QUICK });
  if (result.kind !== "trajectory") throw new Error("expected a sampled result");
  return result;
}

describe("verify", () => {
  it("finds a pipeline equal to itself, and the result is plain data", async () => {
    const result = await judged(pipeline);
    const [main] = result.settings;
    expect(main?.sqnr.mean).toBe(120);
    expect(main?.sqnr.lossless).toBe(true);
    expect(main?.conditioning?.follows).toBe(true);
    expect(main?.drift.at(-1)?.sqnr).toBe(120);
    expect(result).toMatchObject({ component: "unet", conditions: "description", sampleRange: [-1, 1] });
    expect(result.noiseFloor.variants.map((v) => v.name)).toEqual([
      "2 threads",
      "unoptimised",
      "one sample at a time",
    ]);
    expect(result.noiseFloor.mean).toBeGreaterThan(90);
    expect(result.agreement.agrees).toBe(true);
    expect(JSON.parse(JSON.stringify(result))).toEqual(result);
  });

  it("measures a gain error at every step: 10 % is 20 dB", async () => {
    const result = await judged(gain(1.1));
    const [main] = result.settings;
    for (const step of main!.sqnr.steps) {
      expect(step.sqnr).toBeCloseTo(20, 3);
      expect(step.lossless).toBe(false);
    }
    expect(main!.sqnr.worst.sqnr).toBeCloseTo(20, 3);
    expect(main!.conditioning?.ratio).toBeCloseTo(1.1, 4);
    expect(main!.conditioning?.cosine).toBeCloseTo(1, 5);
    expect(main!.psnr.median).toBeLessThan(60);
  });

  it("catches a build that no longer listens to its condition", async () => {
    const deaf = edited((patch, model) => {
      const context = model.graph.inputs[2]!;
      const zero = patch.constant(f32Tensor([0], []));
      const [silenced] = patch.node({ op: "Mul", inputs: [context, zero] });
      for (const user of model.graph.users(context)) {
        const node = model.graph.node(user);
        patch.replace(node, { inputs: node.inputs.map((i) => (i === context ? silenced : i)) });
      }
    });
    const result = await judged(deaf);
    expect(result.settings[0]?.conditioning).toMatchObject({ follows: false, ratio: 0 });
    expect((await judged(pipeline)).settings[0]?.conditioning?.follows).toBe(true);
  });

  it("is deterministic and takes an opened pipeline", async () => {
    const opened = await openPipeline(pipeline);
    const first = await verify(opened, gain(1.01), { runtime, ...QUICK });
    const second = await verify(opened, gain(1.01), { runtime, ...QUICK });
    expect(second).toEqual(first);
  });

  it("runs a candidate with a fixed batch in pieces", async () => {
    const fixed = cloneModel(fixture("tiny-unet").build());
    const patch = new PatchBuilder(fixed.graph, "fix");
    const [sample, timestep, context] = fixed.graph.inputs;
    patch.retype(sample!, { kind: "tensor", dtype: "f32", shape: [2, 4, 8, 8] });
    patch.retype(timestep!, { kind: "tensor", dtype: "i64", shape: [1] });
    patch.retype(context!, { kind: "tensor", dtype: "f32", shape: [2, 3, 6] });
    fixed.graph.apply(patch.build());
    const result = await verify(pipeline, fixed, { runtime, ...QUICK, seeds: 3, batch: 3 });
    if (result.kind !== "trajectory") throw new Error("expected a sampled result");
    expect(result.settings[0]?.sqnr.mean).toBeGreaterThan(100);
  });

  it("reports progress and stops when told to", async () => {
    const seen: number[] = [];
    await verify(pipeline, pipeline, {
      runtime,
      ...QUICK,
      onProgress: (done, total) => seen.push(done / total),
    });
    expect(seen.at(-1)).toBe(1);
    const controller = new AbortController();
    controller.abort();
    const stopped = verify(pipeline, pipeline, { runtime, ...QUICK, signal: controller.signal });
    await expect(stopped).rejects.toMatchObject({ code: "INTERRUPTED" });
  });

  it("runs every setting of the full effort", async () => {
    const result = await verify(pipeline, gain(1.1), { runtime, seeds: 2 });
    if (result.kind !== "trajectory") throw new Error("expected a sampled result");
    expect(result.settings.map((s) => s.name)).toEqual(["main", "steps", "guidance-1", "sampler"]);
    for (const s of result.settings) expect(s.sqnr.mean).toBeCloseTo(20, 2);
  });

  it("compares plain models on seeded inputs", async () => {
    const text = fileURLToPath(new URL("../../fixtures/cifar-unet/text_encoder/model.onnx", import.meta.url));
    const same = await verify(text, text, { runtime });
    expect(same).toMatchObject({ kind: "inputs", sets: 4, maxAbs: 0, sqnr: 120 });
    await expect(verify(text, join(dir, "nothing"), { runtime })).rejects.toBeInstanceOf(DiffpressError);
  });
});

describe("compareOnInputs", () => {
  function affine(scale: number, outputs: readonly string[], width = 4): Model {
    const b = new ModelBuilder();
    const x = b.input("x", "f32", ["n", width]);
    for (const name of outputs)
      b.output(b.node("Mul", [x, b.constant(f32Tensor([scale], []))]), name, {
        kind: "tensor",
        dtype: "f32",
        shape: ["n", width],
      });
    return b.build();
  }
  async function compared(a: Model, b: Model) {
    const before = await runtime.openSession(a);
    const after = await runtime.openSession(b);
    const sets = [seededInputs(before.inputs, { bindings: { n: 8 } })];
    const result = await compareOnInputs(before, after, sets);
    await before.release();
    await after.release();
    return result;
  }

  it("gives absolute, relative error and SQNR per output", async () => {
    const result = await compared(affine(2, ["y", "z"]), affine(2.02, ["y", "z"]));
    expect(result.outputs.map((o) => o.name)).toEqual(["y", "z"]);
    expect(result.outputs[0]?.maxRel).toBeCloseTo(0.01, 5);
    expect(result.outputs[0]?.maxAbs).toBeGreaterThan(0.01);
    expect(result.sqnr).toBeCloseTo(40, 3);
    expect((await compared(affine(2, ["y"]), affine(2, ["y"]))).maxAbs).toBe(0);
  });

  it("calls a missing output infinitely wrong", async () => {
    const result = await compared(affine(2, ["y", "z"]), affine(2, ["y"]));
    expect(result.outputs[0]?.maxAbs).toBe(0);
    expect(result.outputs[1]?.maxAbs).toBe(Number.MAX_VALUE);
    expect(result.sqnr).toBe(-120);
    expect(JSON.parse(JSON.stringify(result))).toEqual(result);
  });
});

describe("seededInputs", () => {
  it("takes lengths by axis, then by symbol, then defaults, and differs from set to set", () => {
    const ports = [
      { name: "x", dtype: "f32", shape: ["n", "m", 2] },
      { name: "ids", dtype: "i64", shape: ["n"] },
      { name: "on", dtype: "bool", shape: [] },
    ] as const;
    const feeds = seededInputs(ports, { bindings: { "x.1": 3, n: 2 }, below: { ids: 1 } });
    expect(feeds.get("x")?.dims).toEqual([2, 3, 2]);
    expect([...feeds.get("ids")!.bytes].every((b) => b === 0)).toBe(true);
    expect([...feeds.get("on")!.bytes]).toEqual([1]);
    expect(seededInputs(ports).get("x")?.dims).toEqual([1, 8, 2]);
    expect(seededInputs(ports, {}, 1).get("x")?.bytes).not.toEqual(
      seededInputs(ports, {}, 0).get("x")?.bytes,
    );
    expect(seededInputs(ports).get("x")).toEqual(seededInputs(ports).get("x"));
  });
});
