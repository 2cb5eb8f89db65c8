import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterAll, describe, expect, it } from "vitest";
import { fixture } from "../../fixtures/build/index.ts";
import {
  type CompileOptions,
  compile,
  type Manifest,
  type Report,
  readModel,
  reportSchema,
} from "../../src/index.ts";
import type { Model } from "../../src/ir/graph.ts";
import { fileReader, writeModel } from "../../src/ir/onnx/index.ts";

const PIPELINE = fileURLToPath(new URL("../../fixtures/cifar-unet", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "diffpress-build-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const sha = (data: string | Uint8Array): string => createHash("sha256").update(data).digest("hex");
const json = <T>(path: string): T => JSON.parse(readFileSync(path, "utf8")) as T;
const manifestOf = (out: string): Manifest => json(join(out, "manifest.json"));

async function build(
  name: string,
  options: Partial<CompileOptions> = {},
  source = PIPELINE,
): Promise<string> {
  const out = join(dir, name);
  await compile(source, { out, verify: false, ...options });
  return out;
}

/** Names, types and order of graph inputs and outputs; dims apart, which a target may fix. */
function signature(model: Model): unknown[] {
  const port = (id: Parameters<Model["graph"]["value"]>[0]): unknown => {
    const { name, type } = model.graph.value(id);
    return type?.kind === "tensor" ? [name, type.dtype, type.shape?.length] : [name, type];
  };
  return [model.graph.inputs.map(port), model.graph.outputs.map(port)];
}

describe("a build of the bundled pipeline", () => {
  it("is laid out as the loaders expect, its manifest true, its report valid, its signature kept", async () => {
    const out = await build("layout", { preset: "w4", targets: ["cpu-x64", "qnn-htp"] });
    expect(readdirSync(out).sort()).toEqual([
      "cpu-x64",
      "manifest.json",
      "qnn-htp",
      "recipe.lock.yaml",
      "report.json",
    ]);
    for (const target of ["cpu-x64", "qnn-htp"]) {
      for (const file of [
        "model_index.json",
        "diffpress.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
      ])
        expect(readFileSync(join(out, target, file))).toEqual(readFileSync(join(PIPELINE, file)));
      for (const component of ["unet", "text_encoder"]) {
        const before = await readModel(join(PIPELINE, component, "model.onnx"));
        const after = await readModel(join(out, target, component, "model.onnx"));
        expect(signature(after)).toEqual(signature(before));
      }
    }
    const manifest = manifestOf(out);
    for (const f of manifest.files) {
      const bytes = readFileSync(join(out, f.path));
      expect({ path: f.path, bytes: bytes.length, sha256: sha(bytes) }).toEqual(f);
    }
    expect(manifest.models["cpu-x64/unet/model.onnx"]!.length).toBeGreaterThan(50);
    const report = json<Report>(join(out, "report.json"));
    const validate = new Ajv2020({ strict: true, allErrors: true }).compile(reportSchema());
    expect(validate(report), JSON.stringify(validate.errors)).toBe(true);
    expect(report.targets["cpu-x64"]!.bytes.after).toBeLessThan(
      0.2 * report.targets["cpu-x64"]!.bytes.before,
    );
    // Weight formats the NPU does not take fall back, in the open.
    const downgrade = (component: string) =>
      report.targets["qnn-htp"]!.downgrades.find((d) => d.component === component);
    expect(downgrade("unet")).toMatchObject({ from: "w4", to: "f16" });
    expect(downgrade("text_encoder")).toMatchObject({ from: "w8", to: "f16" });
  });

  it("tells samplers in the manifest what is left of the error, and its report stays valid", async () => {
    const out = await build("sampling", {
      recipe: {
        extends: "exact",
        calibration: { steps: 2, samples: 2 },
        passes: ["clean", { "quantize-weights": { format: "w4", score: false } }, "correct-output"],
        targets: { "cpu-x64": {} },
      },
    });
    const { sampling } = manifestOf(out);
    expect(Object.keys(sampling!)).toEqual(["cpu-x64/unet/model.onnx"]);
    const { timesteps, variance, guidance } = sampling!["cpu-x64/unet/model.onnx"]!.residualVariance!;
    expect(timesteps).toHaveLength(2);
    expect(timesteps[0]).toBeLessThan(timesteps[1]!);
    expect(guidance).toBe(2.5);
    for (const v of variance) {
      expect(v).toBeGreaterThan(1e-8);
      expect(v).toBeLessThan(0.1);
    }
    const validate = new Ajv2020({ strict: false }).compile(reportSchema() as object);
    expect(validate(json(join(out, "report.json"))), JSON.stringify(validate.errors)).toBe(true);
  });

  it("keeps dims symbolic where it may and fixes them where it must", async () => {
    const out = await build("shapes", { targets: ["cpu-x64", "qnn-htp"] });
    const shape = async (target: string): Promise<unknown> => {
      const { graph } = await readModel(join(out, target, "unet/model.onnx"));
      return graph.inputs.map((id) => {
        const { type } = graph.value(id);
        return type?.kind === "tensor" ? type.shape : null;
      });
    };
    expect(await shape("cpu-x64")).toEqual([
      ["batch_size", 3, "height", "width"],
      ["steps"],
      ["batch_size", "sequence_length", 64],
    ]);
    expect(await shape("qnn-htp")).toEqual([[2, 3, 16, 16], [1], [2, 8, 64]]);
    const fixed = await build("fixed", { shape: { batch_size: 1, "sample.2": 8 } });
    const { graph } = await readModel(join(fixed, "cpu-x64/unet/model.onnx"));
    const sample = graph.value(graph.inputs[0]!).type;
    expect(sample).toMatchObject({ shape: [1, 3, 8, "width"] });
  });

  it("has the same bytes from two runs, with 1 and 4 workers, alone or beside other targets", async () => {
    const one = await build("workers-1", { preset: "w8", workers: 1, targets: ["cpu-x64", "webgpu"] });
    const four = await build("workers-4", { preset: "w8", workers: 4, targets: ["cpu-x64", "webgpu"] });
    expect(readFileSync(join(four, "manifest.json"))).toEqual(readFileSync(join(one, "manifest.json")));
    const alone = manifestOf(await build("alone", { preset: "w8", targets: ["webgpu"] }));
    const ofWebgpu = manifestOf(one).files.filter((f) => f.path.startsWith("webgpu/"));
    expect(alone.files.filter((f) => f.path.startsWith("webgpu/"))).toEqual(ofWebgpu);
  });

  it("comes out the same from its own lock", async () => {
    const recipe = join(dir, "recipe.yaml");
    writeFileSync(
      recipe,
      "extends: w8\nseed: 4\npasses:\n  - quantize-weights: { exclude: time, score: false }\ntargets:\n  cpu-x64: {}\n",
    );
    const first = await build("first", { recipe });
    const again = await build("again", { recipe: join(first, "recipe.lock.yaml") });
    expect(readFileSync(join(again, "manifest.json"))).toEqual(readFileSync(join(first, "manifest.json")));
  });

  it("replaces an earlier build when complete, and leaves it alone when not", async () => {
    const out = await build("replaced", { targets: ["cpu-x64"] });
    const before = readFileSync(join(out, "manifest.json"), "utf8");
    await expect(build("replaced", { shape: { nothing: 1 } })).rejects.toMatchObject({
      code: "SHAPE_DIM_UNKNOWN",
    });
    const abort = new AbortController();
    const onEvent: CompileOptions["onEvent"] = (e) => {
      if (e.kind === "bytes") abort.abort();
    };
    await expect(build("replaced", { signal: abort.signal, onEvent })).rejects.toMatchObject({
      code: "INTERRUPTED",
    });
    expect(readFileSync(join(out, "manifest.json"), "utf8")).toBe(before);
    await build("replaced", { targets: ["webgpu"] });
    expect(existsSync(join(out, "cpu-x64"))).toBe(false);
    expect(existsSync(join(out, "webgpu/unet/model.onnx"))).toBe(true);
    expect(readdirSync(dir).filter((f) => f.startsWith("."))).toEqual([]);
  });

  it("is judged: exact passes proven on the reference inputs, fidelity along trajectories, budgets", async () => {
    const out = await build("judged", {
      verify: true,
      now: () => performance.now(),
      targets: ["cpu-x64"],
      recipe: {
        extends: "w4",
        verification: { steps: 4, samples: 2 },
        budgets: { bytes: "50%", sqnr: { mean: 200, worst: 5 } },
      },
    });
    const report = json<Report>(join(out, "report.json"));
    const target = report.targets["cpu-x64"]!;
    expect(target.exactness).toContainEqual(
      expect.objectContaining({ component: "unet", inputs: "reference" }),
    );
    for (const e of target.exactness) expect(e.error).toBeLessThanOrEqual(1e-4);
    expect(target.fidelity).toMatchObject({ sampler: "ddim", steps: 4, seeds: 2, conditions: "description" });
    expect(target.fidelity!.sqnr).toHaveLength(4);
    expect(target.fidelity!.sqnrMean).toBeGreaterThan(20);
    expect(target.fidelity!.conditioning!.follows).toBe(true);
    expect(target.latency!.before).toBeGreaterThan(0);
    expect(report.budgets.map((b) => [b.name, b.met])).toEqual([
      ["bytes", true],
      ["sqnr.mean", false],
      ["sqnr.worst", true],
    ]);
  });
});

describe("a build of a single model", () => {
  it("lies directly in the target's folder", async () => {
    const path = join(dir, "tiny.onnx");
    await writeModel(fixture("tiny-unet").build(), path, { reader: fileReader() });
    const out = await build("single", { verify: true }, path);
    expect(readdirSync(join(out, "cpu-x64"))).toContain("model.onnx");
    const target = json<Report>(join(out, "report.json")).targets["cpu-x64"]!;
    expect(target.exactness[0]).toMatchObject({ component: "tiny", inputs: "seeded" });
    expect(target.notes).toContain("not sampled: the input has no scheduler");
  });
  it("tells which lengths a static-shape target still needs", async () => {
    const path = join(dir, "tiny.onnx");
    await writeModel(fixture("tiny-unet").build(), path, { reader: fileReader() });
    await expect(build("open", { targets: ["qnn-htp"] }, path)).rejects.toMatchObject({
      code: "SHAPE_NEEDED",
      diagnostic: { details: { target: "qnn-htp", component: "tiny" } },
    });
  });
});

describe("debugging", () => {
  it("stops after N passes and dumps the text after each", async () => {
    const dumpFolder = join(dir, "dump");
    const out = await build("stopped", { stopAfter: 3, debug: 3, dumpFolder });
    const report = json<Report>(join(out, "report.json"));
    expect(report.targets["cpu-x64"]!.passes).toHaveLength(3);
    expect(readdirSync(dumpFolder)).toHaveLength(3);
  });
});
