import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { graph, info, int, model, msg, node, packed, sub, tensorTypeProto } from "../ir/onnx/proto.ts";
import { copyOfPipeline, diagnosticOf, diffpress, PIPELINE, scratch, start } from "./harness.ts";

const dir = scratch();
const f32 = tensorTypeProto(1, [2]);

/** Runs a build that must fail, and checks that it left nothing but the diagnostic. */
async function refused(
  source: string,
  ...more: string[]
): Promise<{ code: string; details: Record<string, unknown> }> {
  const folder = join(dir, `case-${readdirSync(dir).length}`);
  mkdirSync(folder);
  const outcome = await diffpress(
    "compile",
    source,
    "--no-verify",
    "--json",
    "-o",
    join(folder, "out"),
    ...more,
  );
  expect(outcome.stderr).toBe("");
  expect(outcome.code).toBe(1);
  expect(readdirSync(folder)).toEqual([]);
  return diagnosticOf(outcome);
}

function file(name: string, bytes: Uint8Array): string {
  const path = join(dir, name);
  writeFileSync(path, bytes);
  return path;
}

/** A model with one tensor of 64 floats in a data file at `location`. */
function external(name: string, location: string): string {
  const tensor = msg(
    int(1, 64),
    int(2, 1),
    sub(8, "w"),
    int(14, 1),
    sub(13, msg(sub(1, "location"), sub(2, location))),
    sub(13, msg(sub(1, "length"), sub(2, "256"))),
  );
  const type = tensorTypeProto(1, [64]);
  const g = graph({
    nodes: [node("Add", ["x", "w"], ["y"])],
    initializers: [tensor],
    inputs: [info("x", type)],
    outputs: [info("y", type)],
  });
  return file(name, model(g));
}

describe("a broken model is one coded diagnostic and no output", () => {
  it("truncated file", async () => {
    const bytes = readFileSync(join(PIPELINE, "unet/model.onnx"));
    expect(await refused(file("short.onnx", bytes.subarray(0, 1_000_000)))).toMatchObject({
      code: "ONNX_TRUNCATED",
    });
  });
  it("external data outside the model's folder", async () => {
    expect(await refused(external("outside.onnx", "../secrets.bin"))).toMatchObject({
      code: "EXTERNAL_DATA_OUTSIDE",
      details: { tensor: "w", location: "../secrets.bin" },
    });
  });
  it("external data missing", async () => {
    expect(await refused(external("missing.onnx", "missing.bin"))).toMatchObject({
      code: "EXTERNAL_DATA_MISSING",
    });
  });
  it("external data too short", async () => {
    writeFileSync(join(dir, "short.bin"), new Uint8Array(100));
    expect(await refused(external("short-data.onnx", "short.bin"))).toMatchObject({
      code: "EXTERNAL_DATA_SHORT",
      details: { end: 256, size: 100 },
    });
  });
  it("absurd dims", async () => {
    const huge = msg(packed(1, [2 ** 40, 2 ** 40]), int(2, 1), sub(8, "w"), sub(9, new Uint8Array(4)));
    const g = graph({
      nodes: [node("Add", ["x", "w"], ["y"])],
      initializers: [huge],
      inputs: [info("x", f32)],
      outputs: [info("y", f32)],
    });
    const { code } = await refused(file("huge.onnx", model(g)));
    expect(["ONNX_LIMIT", "ONNX_TENSOR_INVALID"]).toContain(code);
  });
  it("cyclic graph", async () => {
    const g = graph({
      nodes: [node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"])],
      inputs: [info("x", f32)],
      outputs: [info("b", f32)],
    });
    expect(await refused(file("cycle.onnx", model(g)))).toMatchObject({ code: "GRAPH_CYCLE" });
  });
  it("no candidate to verify, or a folder of several builds", async () => {
    const gone = await diffpress("verify", PIPELINE, join(dir, "gone"), "--json");
    expect(gone.code).toBe(1);
    expect(diagnosticOf(gone).code).toBe("INPUT_NOT_FOUND");
    const builds = join(dir, "builds");
    for (const target of ["cpu-x64", "webgpu"]) mkdirSync(join(builds, target), { recursive: true });
    writeFileSync(join(builds, "manifest.json"), "{}");
    const several = await diffpress("verify", PIPELINE, builds, "--json");
    expect(diagnosticOf(several)).toMatchObject({
      code: "INPUT_NOT_FOUND",
      message: expect.stringContaining(join(builds, "cpu-x64")),
    });
  });
  it("no model at all", async () => {
    expect(await refused(join(dir, "nothing.onnx"))).toMatchObject({ code: "INPUT_NOT_FOUND" });
    expect(await refused(dir)).toMatchObject({ code: "INPUT_NOT_FOUND" });
  });
});

describe("a broken pipeline", () => {
  it("wrong scheduler config", async () => {
    const pipeline = copyOfPipeline(dir, "wrong-scheduler");
    const config = join(pipeline, "scheduler/scheduler_config.json");
    const good = JSON.parse(readFileSync(config, "utf8")) as Record<string, unknown>;
    writeFileSync(config, JSON.stringify({ ...good, beta_start: "tiny" }));
    expect(await refused(pipeline)).toMatchObject({ code: "CONFIG_INVALID" });
    writeFileSync(config, JSON.stringify({ ...good, _class_name: "DDIMSchedular" }));
    expect(await refused(pipeline)).toMatchObject({
      code: "SCHEDULER_UNKNOWN",
      details: { nearest: "DDIMScheduler" },
    });
    truncateSync(config, 40);
    expect(await refused(pipeline)).toMatchObject({ code: "JSON_INVALID" });
  });
  it("a model that the index lists is missing", async () => {
    const pipeline = copyOfPipeline(dir, "no-unet");
    unlinkSync(join(pipeline, "unet/model.onnx"));
    expect(await refused(pipeline)).toMatchObject({ code: "PIPELINE_FILE_MISSING" });
  });
});

describe("a broken request", () => {
  it("unknown recipe key", async () => {
    const recipe = join(dir, "typo.yaml");
    writeFileSync(recipe, "extends: exact\npases: [clean]\n");
    expect(await refused(PIPELINE, "--recipe", recipe)).toMatchObject({
      code: "RECIPE_UNKNOWN_KEY",
      details: { keys: [{ key: "pases", nearest: "passes" }] },
    });
  });
  it("unknown preset, target, dim and component", async () => {
    expect(await refused(PIPELINE, "--preset", "fp61")).toMatchObject({
      code: "PRESET_UNKNOWN",
      details: { nearest: "fp16" },
    });
    expect(await refused(PIPELINE, "--target", "web-gpu")).toMatchObject({
      code: "TARGET_UNKNOWN",
      details: { nearest: "webgpu" },
    });
    expect(await refused(PIPELINE, "--shape", "hieght=16")).toMatchObject({ code: "SHAPE_DIM_UNKNOWN" });
    const recipe = join(dir, "component.yaml");
    writeFileSync(recipe, "components: [unett]\n");
    expect(await refused(PIPELINE, "--recipe", recipe)).toMatchObject({
      code: "COMPONENT_UNKNOWN",
      details: { nearest: "unet" },
    });
  });
  it("a budget that nothing will measure", async () => {
    const recipe = join(dir, "budget.yaml");
    writeFileSync(recipe, "budgets: { sqnr: { mean: 30 } }\n");
    expect(await refused(PIPELINE, "--recipe", recipe)).toMatchObject({ code: "BUDGET_UNMEASURED" });
  });
});

describe("an output that cannot be", () => {
  it("unwritable: part of the path is a file", async () => {
    const blocker = join(dir, "blocker");
    writeFileSync(blocker, "x");
    const outcome = await diffpress("compile", PIPELINE, "--no-verify", "--json", "-o", join(blocker, "out"));
    expect(outcome.code).toBe(1);
    expect(diagnosticOf(outcome).code).toBe("OUTPUT_UNWRITABLE");
    expect(readFileSync(blocker, "utf8")).toBe("x");
  });
  it("no room for the data file", async () => {
    const folder = join(dir, "full");
    mkdirSync(folder);
    const args = ["compile", PIPELINE, "--no-verify", "--json", "-o", join(folder, "out")];
    const outcome = await start(args, 3000).done;
    expect(outcome.code).toBe(1);
    expect(["DISK_FULL", "OUTPUT_UNWRITABLE"]).toContain(diagnosticOf(outcome).code);
    expect(readdirSync(folder)).toEqual([]);
  });
  it("a folder of somebody else, and the input itself, stay as they are", async () => {
    const folder = join(dir, "precious");
    mkdirSync(folder);
    writeFileSync(join(folder, "thesis.txt"), "irreplaceable");
    const foreign = await diffpress("compile", PIPELINE, "--no-verify", "--json", "-o", folder);
    expect(diagnosticOf(foreign).code).toBe("OUTPUT_NOT_OURS");
    expect(readdirSync(folder)).toEqual(["thesis.txt"]);
    const pipeline = copyOfPipeline(dir, "itself");
    const over = await diffpress("compile", pipeline, "--no-verify", "--json", "-o", pipeline);
    expect(diagnosticOf(over).code).toBe("OUTPUT_OVER_INPUT");
    expect(existsSync(join(pipeline, "unet/model.onnx"))).toBe(true);
  });
});

it("an interrupt leaves nothing behind", async () => {
  const folder = join(dir, "interrupted");
  mkdirSync(folder);
  const { child, done } = start(["compile", PIPELINE, "--target", "all", "-o", join(folder, "out")]);
  while (!readdirSync(folder).some((f) => f.includes("partial")) && child.exitCode === null)
    await new Promise((r) => setTimeout(r, 20));
  child.kill("SIGINT");
  const outcome = await done;
  expect(outcome.code).toBe(130);
  expect(outcome.stderr).toContain("INTERRUPTED");
  expect(readdirSync(folder)).toEqual([]);
});
