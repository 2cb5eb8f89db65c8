import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  describeModel,
  editDistance,
  nearestName,
  openPipeline,
  pipelineDenoiser,
  pipelineScheduler,
} from "../../src/calibrate/index.ts";
import { jsonErrorPosition } from "../../src/calibrate/json-position.ts";

const FIXTURE = fileURLToPath(new URL("../../fixtures/cifar-unet", import.meta.url));

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "diffpress-test-"));
  for (const f of ["model_index.json", "diffpress.json", "scheduler", "unet/config.json", "reference.npz"]) {
    cpSync(join(FIXTURE, f), join(dir, f), { recursive: true });
  }
  for (const c of ["unet", "text_encoder"]) {
    mkdirSync(join(dir, c), { recursive: true });
    symlinkSync(join(FIXTURE, c, "model.onnx"), join(dir, c, "model.onnx"));
  }
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const details = async (
  run: Promise<unknown>,
): Promise<{ code: string; details: Record<string, unknown> }> => {
  const e = (await run.then(
    () => expect.unreachable(),
    (reason: unknown) => reason,
  )) as { diagnostic: { code: string; details: Record<string, unknown> } };
  return e.diagnostic;
};
const write = (file: string, content: unknown): void =>
  writeFileSync(join(dir, file), typeof content === "string" ? content : JSON.stringify(content));

describe("opening a pipeline", () => {
  it("describes the fixture", async () => {
    const p = await openPipeline(FIXTURE);
    expect(p.className).toBe("StableDiffusionPipeline");
    expect(p.components.map((c) => [c.name, c.kind, c.className])).toEqual([
      ["text_encoder", "text-encoder", "OnnxRuntimeModel"],
      ["unet", "denoiser", "OnnxRuntimeModel"],
    ]);
    expect(p.denoiser?.config?.["sample_size"]).toBe(16);
    expect(p.sampling).toMatchObject({ steps: 20, guidance: 2.5, sampleRange: [-1, 1] });
    expect(p.sampling.conditions.map((c) => c.name)).toEqual(["automobile", "ship", "horse"]);
    expect(p.reference).toBe(join(FIXTURE, "reference.npz"));
    expect(pipelineScheduler(p).timesteps).toHaveLength(20);
    expect(pipelineScheduler(p, { sampler: "heun", steps: 5 }).timesteps).toHaveLength(9);
  });

  it("reports a missing index", async () => {
    rmSync(join(dir, "model_index.json"));
    expect(await details(openPipeline(dir))).toMatchObject({
      code: "PIPELINE_FILE_MISSING",
      details: { file: join(dir, "model_index.json") },
    });
  });

  it("reports a listed component without model", async () => {
    rmSync(join(dir, "unet/model.onnx"));
    expect(await details(openPipeline(dir))).toMatchObject({
      code: "PIPELINE_FILE_MISSING",
      details: { file: join(dir, "unet/model.onnx") },
    });
  });

  it("reports a folder of nothing", async () => {
    const empty = mkdtempSync(join(dir, "empty-"));
    writeFileSync(join(empty, "model_index.json"), '{"_class_name": "X"}');
    expect((await details(openPipeline(empty))).code).toBe("PIPELINE_EMPTY");
  });

  it("reports JSON faults with their place", async () => {
    write("scheduler/scheduler_config.json", '{\n  "a": 1,\n  "b": 2,\n}');
    expect(await details(openPipeline(dir))).toMatchObject({
      code: "JSON_INVALID",
      details: { line: 4, column: 1 },
    });
    write("scheduler/scheduler_config.json", "[1, 2]");
    expect((await details(openPipeline(dir))).code).toBe("CONFIG_INVALID");
  });

  it("reports wrong scheduler entries, all of them", async () => {
    write("scheduler/scheduler_config.json", {
      _class_name: "DDIMScheduler",
      beta_start: "small",
      steps_offset: -1,
    });
    const d = await details(openPipeline(dir));
    expect(d.code).toBe("CONFIG_INVALID");
    expect(d.details["problems"]).toHaveLength(2);
  });

  it("reports an unknown scheduler with the nearest name, unless told to wait", async () => {
    write("scheduler/scheduler_config.json", { _class_name: "DDIMSchedular" });
    expect(await details(openPipeline(dir))).toMatchObject({
      code: "SCHEDULER_UNKNOWN",
      details: { nearest: "DDIMScheduler" },
    });
    const p = await openPipeline(dir, { checkScheduler: false });
    expect(() => pipelineScheduler(p)).toThrow(expect.objectContaining({ code: "SCHEDULER_UNKNOWN" }));
    expect(pipelineScheduler(p, { sampler: "euler" }).sampler).toBe("euler");
  });

  it("reads the infinities that Python writes", async () => {
    write(
      "scheduler/scheduler_config.json",
      '{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity, "a": "NaN", "flow_shift": null}',
    );
    const p = await openPipeline(dir);
    expect(p.scheduler?.config).toMatchObject({ a: "NaN" });
    expect(pipelineScheduler(p).timesteps).toHaveLength(20);
  });

  it("takes the scheduler class from the index when the configuration has none", async () => {
    write("scheduler/scheduler_config.json", { beta_schedule: "scaled_linear" });
    expect(pipelineScheduler(await openPipeline(dir)).sampler).toBe("ddim");
  });

  it("reports a missing scheduler when it is listed, and when sampling needs one", async () => {
    rmSync(join(dir, "scheduler"), { recursive: true });
    expect((await details(openPipeline(dir))).code).toBe("PIPELINE_FILE_MISSING");
    write("model_index.json", { _class_name: "X", unet: ["diffusers", "OnnxRuntimeModel"] });
    const p = await openPipeline(dir);
    expect(() => pipelineScheduler(p)).toThrow(expect.objectContaining({ code: "PIPELINE_FILE_MISSING" }));
  });

  it.each([
    ["an unknown key", { stepz: 3 }, /stepz.*steps/],
    ["a wrong type", { steps: "many" }, /steps/],
    ["an empty range", { sampleRange: [1, -1] }, /low < high/],
    ["an archive elsewhere", { conditionsFile: "../../secret.npz" }, /inside/],
    ["a condition of text", { conditions: ["ship"] }, /conditions/],
  ])("reports %s in diffpress.json", async (_, content, pattern) => {
    write("diffpress.json", content);
    const d = await details(openPipeline(dir));
    expect(d.code).toBe("CONFIG_INVALID");
    expect(String(d.details["problems"])).toMatch(pattern);
  });

  it("has no denoiser in a folder of other models", async () => {
    rmSync(join(dir, "unet"), { recursive: true });
    write("model_index.json", { _class_name: "X", text_encoder: ["diffusers", "OnnxRuntimeModel"] });
    const p = await openPipeline(dir);
    expect(p.denoiser).toBeNull();
    expect(() => pipelineDenoiser(p)).toThrow(expect.objectContaining({ code: "PIPELINE_NO_DENOISER" }));
  });
});

describe("the fixture", () => {
  it("is the one its README describes", () => {
    const readme = readFileSync(join(FIXTURE, "../README.md"), "utf8");
    const section = readme.slice(readme.indexOf("## cifar-unet")).split("\n## ")[0]!;
    const rows = [...section.matchAll(/^\| `([^`]+)` \| `([0-9a-f]{64})` \|$/gm)];
    expect(rows).toHaveLength(7);
    for (const [, file, digest] of rows) {
      expect(
        createHash("sha256")
          .update(readFileSync(join(FIXTURE, file!)))
          .digest("hex"),
      ).toBe(digest);
    }
  });
});

describe("a single model", () => {
  it("is a pipeline of one component", async () => {
    const p = await describeModel({
      model: join(dir, "unet/model.onnx"),
      scheduler: join(dir, "scheduler/scheduler_config.json"),
      sampling: { steps: 7, guidance: 3 },
      conditions: "conditions.npz",
    });
    expect(p.denoiser?.name).toBe("model");
    expect(p.denoiser?.config?.["in_channels"]).toBe(3);
    expect(p.sampling).toMatchObject({ steps: 7, guidance: 3 });
    expect(p.sampling.conditionsFile).toMatch(/^\/.*conditions\.npz$/);
    expect(pipelineScheduler(p).timesteps).toHaveLength(7);
  });

  it("needs its file and a valid scheduler", async () => {
    expect((await details(describeModel({ model: join(dir, "no.onnx") }))).code).toBe(
      "PIPELINE_FILE_MISSING",
    );
    const scheduler = { _class_name: "DDIMScheduler", num_train_timesteps: -5 };
    expect((await details(describeModel({ model: join(dir, "unet/model.onnx"), scheduler }))).code).toBe(
      "CONFIG_INVALID",
    );
  });
});

describe("places of JSON faults", () => {
  it.each([
    ["", 1, 1],
    ["{", 1, 2],
    ['{"a" 1}', 1, 6],
    ['{"a": 01}', 1, 8],
    ['{"a": "x\ny"}', 1, 7],
    ["[1,\n2,\n]", 3, 1],
    ["[1] x", 1, 5],
    ["nul", 1, 1],
    ["[".repeat(2000), 1, 502],
  ])("%j", (text, line, column) => {
    expect(() => JSON.parse(text)).toThrow();
    expect(jsonErrorPosition(text)).toMatchObject({ line, column });
  });
});

describe("nearest names", () => {
  it("finds typos and nothing else", () => {
    expect(nearestName("eulr", ["euler", "heun"])).toBe("euler");
    expect(nearestName("EULER", ["euler"])).toBe("euler");
    expect(nearestName("banana", ["euler", "heun"])).toBeNull();
    expect(nearestName("x".repeat(1000), ["x"])).toBeNull();
    expect(editDistance("kitten", "sitting")).toBe(3);
  });
});
