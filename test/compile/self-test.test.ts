import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type BuildFile, buildSchema, compile, type Manifest, readModel, selfTest } from "../../src/index.ts";
import { sha256 } from "../../src/compile/hash.ts";
import { tensorBytes } from "../../src/ir/tensor.ts";
import { modelTensors } from "../../src/ir/weights.ts";

const PIPELINE = fileURLToPath(new URL("../../fixtures/cifar-unet", import.meta.url));
const MODULES = fileURLToPath(new URL("../../node_modules", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "diffpress-self-test-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const out = join(dir, "build");
const buildOf = (folder: string): BuildFile => JSON.parse(readFileSync(join(folder, "build.json"), "utf8"));

/** A copy of the CPU build to do harm to. */
function copy(name: string): string {
  const folder = join(dir, name);
  cpSync(join(out, "cpu-x64"), folder, { recursive: true });
  return folder;
}

/** Overwrites the largest weight of the denoiser with zeros. */
async function zeroed(folder: string): Promise<void> {
  const path = join(folder, "unet/model.onnx");
  const model = await readModel(path);
  const [largest] = [...modelTensors(model)].sort((a, b) => tensorBytes(b) - tensorBytes(a));
  const source = largest!.source;
  if (source.kind !== "file") throw new Error("the largest weight is not in a file");
  const bytes = readFileSync(source.path);
  bytes.fill(0, source.offset, source.offset + source.length);
  writeFileSync(source.path, bytes);
}

beforeAll(async () => {
  await compile(PIPELINE, { out, verify: false, preset: "w8", targets: ["cpu-x64", "webgpu", "qnn-htp"] });
}, 120_000);

describe("a target folder", () => {
  it.each(["cpu-x64", "webgpu", "qnn-htp"])(
    "of %s says how to load it, and passes its own test",
    async (id) => {
      const folder = join(out, id);
      const build = buildOf(folder);
      const validate = new Ajv2020({ strict: true, allErrors: true, allowUnionTypes: true }).compile(
        buildSchema(),
      );
      expect(validate(build), JSON.stringify(validate.errors)).toBe(true);
      expect(build.target.id).toBe(id);
      expect(
        build.components.map((c) => [c.name, c.inputs.map((i) => i.name), c.outputs.map((o) => o.name)]),
      ).toEqual([
        ["text_encoder", ["input_ids"], ["last_hidden_state"]],
        ["unet", ["sample", "timestep", "encoder_hidden_states"], ["out_sample"]],
      ]);
      const manifest: Manifest = JSON.parse(readFileSync(join(out, "manifest.json"), "utf8"));
      for (const file of ["build.json", "README.md", "unet/self-test.npz", "text_encoder/self-test.npz"])
        expect(manifest.files.map((f) => f.path)).toContain(`${id}/${file}`);
      const result = await selfTest(folder);
      expect(result.passed, JSON.stringify(result)).toBe(true);
      const outputs = result.components.flatMap((c) => c.outputs);
      expect(outputs.length).toBe(2);
      for (const o of outputs) expect(o.sqnr).toBeGreaterThan(60);
    },
  );

  it("sums up what was quantized", () => {
    const unet = buildOf(join(out, "cpu-x64")).components.find((c) => c.name === "unet")!;
    expect(unet.weights[0]!.dtype).toBe("i8");
    expect(unet.applied.find((a) => a.rule === "w8-fold-channel")!.count).toBeGreaterThan(50);
  });

  it("has a README whose lines for Node run", () => {
    const folder = copy("readme");
    const lines = /```js\n([\s\S]*?)```/.exec(readFileSync(join(folder, "README.md"), "utf8"))![1]!;
    expect(lines.trim().split("\n")).toHaveLength(5);
    symlinkSync(MODULES, join(folder, "node_modules"));
    writeFileSync(join(folder, "run.mjs"), lines);
    const printed = execFileSync(process.execPath, ["run.mjs"], { cwd: folder, encoding: "utf8" });
    expect(printed).toMatch(/out_sample \[ 2, 3, 16, 16 \]/);
  });

  it("keeps the README of the input under another name", async () => {
    const source = join(dir, "source");
    cpSync(PIPELINE, source, { recursive: true });
    writeFileSync(join(source, "README.md"), "a model card");
    const built = join(dir, "with-card");
    await compile(source, { out: built, verify: false, targets: ["cpu-x64"] });
    expect(readFileSync(join(built, "cpu-x64/README.source.md"), "utf8")).toBe("a model card");
    expect(readFileSync(join(built, "cpu-x64/README.md"), "utf8")).toContain("InferenceSession");
  });

  it("is tested at a timestep it answers when others were frozen away", async () => {
    const built = join(dir, "frozen");
    const recipe = { extends: "exact", passes: ["clean", { "freeze-time": { timesteps: [951, 501, 1] } }] };
    await compile(PIPELINE, { out: built, verify: false, recipe, targets: ["cpu-x64"] });
    expect((await selfTest(join(built, "cpu-x64"))).passed).toBe(true);
    expect(buildOf(join(built, "cpu-x64")).components.every((c) => c.selfTest !== null)).toBe(true);
  });
});

describe("a self-test", () => {
  it("fails when a weight has changed, by the files and by the outputs", async () => {
    const folder = copy("zeroed");
    await zeroed(folder);
    const result = await selfTest(folder);
    const unet = result.components.find((c) => c.name === "unet")!;
    expect(result.passed).toBe(false);
    expect(unet.files).toEqual([{ path: "unet/model.onnx", problem: "its bytes have changed" }]);
    expect(unet.outputs).toMatchObject([{ name: "out_sample", met: false }]);
    expect(result.components.find((c) => c.name === "text_encoder")!.passed).toBe(true);
  });

  it("fails by the outputs alone when somebody has written the hash too", async () => {
    const folder = copy("signed");
    await zeroed(folder);
    const model = readFileSync(join(folder, "unet/model.onnx"));
    const text = JSON.stringify(buildOf(folder), (_k, v) =>
      v?.path === "unet/model.onnx" ? { ...v, sha256: sha256(model) } : v,
    );
    writeFileSync(join(folder, "build.json"), text);
    const unet = (await selfTest(folder)).components.find((c) => c.name === "unet")!;
    expect(unet.files).toEqual([]);
    expect(unet.passed).toBe(false);
  });

  it("says what is wrong with models that do not load", async () => {
    const folder = copy("cut");
    truncateSync(join(folder, "unet/model.onnx"), 1000);
    const unet = (await selfTest(folder)).components.find((c) => c.name === "unet")!;
    expect(unet.passed).toBe(false);
    expect(unet.problem).not.toBeNull();
    expect(unet.files[0]!.problem).toMatch(/^1000 bytes, expected /);
  });

  it("refuses folders that are no build and descriptions that lead out of theirs", async () => {
    await expect(selfTest(out)).rejects.toMatchObject({ code: "BUILD_FILE_INVALID" });
    const folder = copy("outside");
    for (const path of ["../unet/model.onnx", "/etc/hostname", "a/../../b"]) {
      const build = buildOf(folder);
      writeFileSync(
        join(folder, "build.json"),
        JSON.stringify({ ...build, components: build.components.map((c) => ({ ...c, model: path })) }),
      );
      await expect(selfTest(folder), path).rejects.toMatchObject({ code: "BUILD_FILE_INVALID" });
      writeFileSync(join(folder, "build.json"), JSON.stringify(build));
    }
    expect(existsSync(join(folder, "build.json"))).toBe(true);
  });
});
