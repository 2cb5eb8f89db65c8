import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fixture } from "../../fixtures/build/index.ts";
import { createKit } from "../../fixtures/build/kit.ts";
import { sessionDenoiser } from "../../src/calibrate/denoiser.ts";
import { floats } from "../../src/calibrate/dense.ts";
import { planTrajectory, sampleTrajectory } from "../../src/calibrate/index.ts";
import { calibrationSeeds, verificationSeeds } from "../../src/calibrate/seeds.ts";
import { findComponentInputs } from "../../src/compile/component-inputs.ts";
import { prepare } from "../../src/compile/prepare.ts";
import { type CompileOptions, compile, previewBuild, type Report } from "../../src/index.ts";
import type { Model } from "../../src/ir/graph.ts";
import { fileReader, writeModel } from "../../src/ir/onnx/index.ts";
import { createRuntime } from "../../src/runtime/index.ts";

const SCHEDULER = fileURLToPath(new URL("../../fixtures/cifar-unet/scheduler", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "diffpress-components-"));
const pipeline = join(dir, "pipeline");
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** What diffusers divides latents by before they are decoded. */
const SCALING = 0.25;

/** Decodes latents of four channels: two convolutions wide enough for weight formats around a norm. */
function decoder(): Model {
  const k = createKit({ name: "tiny-decoder", opset: 17 }, 3);
  const latent = k.b.input("latent_sample", "f32", ["batch", 4, "height", "width"]);
  const wide = k.silu(k.groupNorm("norm", k.conv("conv_in", latent, 4, 32, 3), 32, 4));
  const mid = k.silu(k.conv("mid", wide, 32, 32, 3));
  const out = k.conv("conv_out", k.silu(k.conv("mid2", mid, 32, 32, 3)), 32, 3, 3);
  k.b.output(out, "sample", { kind: "tensor", dtype: "f32", shape: ["batch", 3, "height", "width"] });
  return k.b.build();
}

/** Looks ids up in a table and projects them three times; the middle projection is large enough for 8 bits. */
function encoder(): Model {
  const k = createKit({ name: "tiny-encoder", opset: 17 }, 4);
  const ids = k.b.input("input_ids", "i64", ["batch", 3]);
  const h = k.b.node("Gather", [k.f32("table", [16, 32]), ids], { axis: 0 });
  const out = k.linear("out", k.silu(k.linear("mid", k.silu(k.linear("in", h, 32, 48)), 48, 48)), 48, 6);
  k.b.output(out, "last_hidden_state", { kind: "tensor", dtype: "f32", shape: ["batch", 3, 6] });
  return k.b.build();
}

beforeAll(async () => {
  const json = (file: string, value: unknown): void => {
    mkdirSync(join(pipeline, file, ".."), { recursive: true });
    writeFileSync(join(pipeline, file), JSON.stringify(value));
  };
  json("model_index.json", { _class_name: "StableDiffusionPipeline" });
  json("unet/config.json", { in_channels: 4, sample_size: 8 });
  json("vae_decoder/config.json", { scaling_factor: SCALING });
  json("text_encoder/config.json", { vocab_size: 16 });
  const condition = (name: string, ids: number[]) => ({ name, text_encoder: { input_ids: ids } });
  json("diffpress.json", {
    steps: 3,
    guidance: 2,
    conditions: [condition("a", [1, 2, 3]), condition("b", [4, 5, 6])],
    unconditional: condition("none", [0, 0, 0]),
  });
  cpSync(SCHEDULER, join(pipeline, "scheduler"), { recursive: true });
  const models = { unet: fixture("tiny-unet").build(), vae_decoder: decoder(), text_encoder: encoder() };
  for (const [name, model] of Object.entries(models))
    await writeModel(model, join(pipeline, name, "model.onnx"), { reader: fileReader() });
});

async function build(name: string, options: Partial<CompileOptions>): Promise<Report> {
  const { report } = await compile(pipeline, { out: join(dir, name), ...options });
  expect(JSON.parse(readFileSync(join(dir, name, "report.json"), "utf8"))).toEqual(report);
  return report;
}

const named = (report: Report, target: string, name: string) =>
  report.targets[target]!.components.find((c) => c.name === name)!;

/** Lossy passes a plan has for a component on the CPU, with the format or type they make. */
async function lossy(choices: Parameters<typeof previewBuild>[1]): Promise<Record<string, unknown>> {
  const { plan } = await previewBuild(pipeline, choices);
  return Object.fromEntries(
    plan.components.map((c) => [
      c.component,
      c.targets[0]!.passes.filter((p) => p.pass === "quantize-weights" || p.pass === "convert-float")
        .map((p) => p.options["format"] ?? p.options["to"])
        .join(),
    ]),
  );
}

describe("what each component gets", () => {
  it("is the preset's passes around the denoiser, milder ones for 4 bits", async () => {
    expect(await lossy({ preset: "exact" })).toEqual({ unet: "", vae_decoder: "", text_encoder: "" });
    expect(await lossy({ preset: "fp16" })).toEqual({ unet: "f16", vae_decoder: "f16", text_encoder: "f16" });
    expect(await lossy({ preset: "w4" })).toEqual({ unet: "w4", vae_decoder: "w8", text_encoder: "w8" });
  });
  it("follows the recipe: by name before kind, null for exact, {} for the recipe's own, a list for these alone", async () => {
    const recipe = {
      extends: "w4",
      components: {
        vae_decoder: null,
        "vae-decoder": {},
        "text-encoder": { passes: ["clean", { "convert-float": { to: "f16" } }] },
      },
    };
    // The preset's 8 bits for text encoders stay: the list is laid over it like any list of passes.
    expect(await lossy({ recipe })).toEqual({ unet: "w4", vae_decoder: "", text_encoder: "f16,w8" });
    expect(await lossy({ recipe: { extends: "w4", components: { "text-encoder": {} } } })).toMatchObject({
      text_encoder: "w4",
    });
    expect(await lossy({ recipe: { extends: "w4", components: ["vae_decoder"] } })).toEqual({
      unet: "",
      vae_decoder: "w4",
      text_encoder: "",
    });
    await expect(lossy({ recipe: { components: { vae_decodr: {} } } })).rejects.toMatchObject({
      code: "COMPONENT_UNKNOWN",
      diagnostic: { details: { nearest: "vae_decoder" } },
    });
  });
});

describe("outputs of components", () => {
  it("are judged on the pipeline's conditions and on latents it samples", async () => {
    const report = await build("w8", { preset: "w8" });
    const text = named(report, "cpu-x64", "text_encoder");
    expect(text.fidelity).toMatchObject({ inputs: "conditions", sets: 3 });
    expect(text.fidelity!.outputs.map((o) => o.name)).toEqual(["last_hidden_state"]);
    const vae = named(report, "cpu-x64", "vae_decoder");
    expect(vae.fidelity).toMatchObject({ inputs: "latents", sets: 4 });
    for (const { fidelity, bytes } of [text, vae]) {
      expect(fidelity!.sqnr).toBeGreaterThan(25);
      // Not exact either: the weights really changed.
      expect(fidelity!.sqnr).toBeLessThan(80);
      expect(bytes.after).toBeLessThan(0.75 * bytes.before);
    }
    expect(named(report, "cpu-x64", "unet").fidelity).toBeNull();
    expect(report.targets["cpu-x64"]!.fidelity).not.toBeNull();
  });
  it("are left alone by exact builds and without verification", async () => {
    const exact = await build("exact", {});
    const unverified = await build("unverified", { preset: "w8", verify: false });
    for (const report of [exact, unverified])
      for (const c of report.targets["cpu-x64"]!.components) expect(c.fidelity).toBeNull();
  });
  it("come from half-precision graphs whose islands know the ranges, with a fixed batch too", async () => {
    const report = await build("fp16", {
      preset: "fp16",
      targets: ["qnn-htp"],
      shape: { sequence_length: 3 },
    });
    const target = report.targets["qnn-htp"]!;
    for (const name of ["text_encoder", "vae_decoder"]) {
      const c = named(report, "qnn-htp", name);
      expect(c.fidelity!.sqnr).toBeGreaterThan(45);
      expect(c.fidelity!.inputs).toBe(name === "text_encoder" ? "conditions" : "latents");
      const pass = target.passes.find((p) => p.component === name && p.name === "convert-float")!;
      expect(
        pass.decisions.filter((d) => d.rule === "range-islands" && /no ranges/.test(d.why ?? "")),
      ).toEqual([]);
    }
  });
  it("of a single model are judged on random inputs", async () => {
    const file = join(pipeline, "vae_decoder/model.onnx");
    const { report } = await compile(file, { out: join(dir, "single"), preset: "w8" });
    const [only] = report.targets["cpu-x64"]!.components;
    expect(only!.fidelity).toMatchObject({ inputs: "seeded", sets: 4 });
    expect(only!.fidelity!.sqnr).toBeGreaterThan(25);
    expect(only!.fidelity!.sqnr).toBeLessThan(80);
  });
});

describe("inputs of components", () => {
  it("are the finished latents over the scaling factor, other ones for calibration than for judging", async () => {
    const prepared = await prepare(pipeline, {});
    const runtime = await createRuntime({ workers: 0 });
    try {
      const find = findComponentInputs({
        prepared,
        runtime,
        obstacle: async () => null,
        signal: undefined,
      });
      const component = prepared.source.components.find((c) => c.info.name === "vae_decoder")!;
      const ports = [
        { name: "latent_sample", dtype: "f32" as const, shape: ["batch", 4, "height", "width"] },
      ];
      const { denoiser } = prepared.source.pipeline;
      const session = await runtime.openSession(denoiser!.model);
      const plan = await planTrajectory(prepared.source.pipeline, runtime, sessionDenoiser(session), {});
      for (const purpose of ["calibration", "verification"] as const) {
        const seeds = purpose === "calibration" ? calibrationSeeds : verificationSeeds;
        const { samples } = await sampleTrajectory({ ...plan, seeds: seeds(0, 4) });
        const { sets } = await find({ component, ports, purpose, lengths: {} });
        const fed = sets.flatMap((s) => [...floats(s.get("latent_sample")!)]);
        expect(fed).toEqual([...floats(samples)].map((v) => Math.fround(v / SCALING)));
      }
      await session.release();
    } finally {
      await runtime.close();
    }
  });
});

describe("a part that is known to overflow in fp16", () => {
  it("stays in fp32 on a target that computes in half, and the report says why", async () => {
    const file = join(pipeline, "vae_decoder", "config.json");
    const before = readFileSync(file, "utf8");
    writeFileSync(file, JSON.stringify({ scaling_factor: SCALING, force_upcast: true }));
    try {
      const report = await build("upcast", { preset: "fp16", targets: ["webgpu"], verify: false });
      const told = report.targets["webgpu"]!.passes.flatMap(({ component, decisions }) =>
        decisions.filter((d) => d.rule === "known-overflow").map((d) => ({ component, ...d })),
      );
      expect(told).toMatchObject([
        { component: "vae_decoder", kind: "downgraded", why: expect.stringContaining("force_upcast") },
      ]);
    } finally {
      writeFileSync(file, before);
    }
  });
});
