import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { helpPage } from "../../cli/help.ts";
import { parseList, parseShape, parseSize, positiveNumber, wholeNumber } from "../../cli/values.ts";
import { diffpress, ROOT, scratch } from "./harness.ts";

const dir = scratch();

describe("help", () => {
  it("is the committed text", async () => {
    await expect(helpPage()).toMatchFileSnapshot(join(ROOT, "docs/cli.md"));
  });
  it("is printed on stdout with exit code 0", async () => {
    const { code, stdout, stderr } = await diffpress("compile", "--help");
    expect(code).toBe(0);
    expect(stderr).toBe("");
    expect(readFileSync(join(ROOT, "docs/cli.md"), "utf8")).toContain(stdout.trim());
  });
});

describe("usage errors exit with 2", () => {
  it.each([
    [["comple"], "compile"],
    [["compile", "model.onnx", "--preset", "w8", "--tagret", "all", "-o", "out"], "--target"],
    [["compile", "model.onnx"], "-o"],
    [["compile", "model.onnx", "-o", "out", "--shape", "batch"], "batch_size=2"],
  ])("%j", async (args, hint) => {
    const { code, stdout, stderr } = await diffpress(...args);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toContain(hint);
  });
});

it("prints a plan without an output folder and writes nothing", async () => {
  const { code, stdout } = await diffpress(
    "compile",
    join(ROOT, "fixtures/cifar-unet"),
    "--dry-run",
    "--preset",
    "w4",
  );
  expect(code).toBe(0);
  expect(stdout).toContain("quantize-weights");
});

describe("values", () => {
  it("reads sizes", () => {
    expect(parseSize("1000")).toBe(1000);
    expect(parseSize("1.5GB")).toBe(1_500_000_000);
    expect(parseSize("800 MiB")).toBe(838_860_800);
    expect(parseSize("2g")).toBe(2 ** 31);
    for (const bad of ["", "x", "1.5 parsecs", "-1", "0"]) expect(() => parseSize(bad)).toThrow();
  });
  it("reads lists and shapes, repeats adding up", () => {
    expect(parseList("a, b", ["c"])).toEqual(["c", "a", "b"]);
    expect(() => parseList("a,,b")).toThrow();
    expect(parseShape("h=2,sample.0=3", { w: 1 })).toEqual({ w: 1, h: 2, "sample.0": 3 });
    for (const bad of ["h", "h=", "h=0", "h=1.5", "=2"]) expect(() => parseShape(bad)).toThrow();
  });
  it("reads numbers", () => {
    expect(wholeNumber(1)("3")).toBe(3);
    expect(() => wholeNumber(1)("0")).toThrow();
    expect(positiveNumber("2.5")).toBe(2.5);
    expect(() => positiveNumber("")).toThrow();
  });
});

describe("listings", () => {
  it("prints targets and passes as data and for people", async () => {
    const targets = JSON.parse((await diffpress("targets", "--json")).stdout) as { id: string }[];
    expect(targets.map((t) => t.id)).toEqual(expect.arrayContaining(["cpu-x64", "webgpu", "qnn-htp"]));
    const pass = await diffpress("passes", "fold-constants");
    expect(pass.stdout).toContain("maxBytes");
    const unknown = await diffpress("passes", "fold-constant", "--json");
    expect(unknown.code).toBe(1);
    expect(unknown.stdout).toContain('"nearest": "fold-constants"');
  });
  it("prints the recipe schema it publishes", async () => {
    const { stdout } = await diffpress("schema", "recipe");
    expect(JSON.parse(stdout)).toEqual(JSON.parse(readFileSync(join(ROOT, "schema/recipe.json"), "utf8")));
  });
  it("writes a starter recipe that is valid, and no file over another", async () => {
    const path = join(dir, "recipe.yaml");
    expect((await diffpress("init", "fixtures/cifar-unet", "-o", path)).code).toBe(0);
    expect(readFileSync(path, "utf8")).toContain("text_encoder");
    const plan = await diffpress("compile", "fixtures/cifar-unet", "--recipe", path, "--dry-run", "-o", dir);
    expect(plan.code).toBe(0);
    expect(plan.stdout).toContain("qnn-htp");
    const again = await diffpress("init", "-o", path, "--json");
    expect(again.code).toBe(2);
    const twice = await diffpress("init", "-o", path);
    expect(twice).toMatchObject({ code: 1, stdout: "" });
    expect(twice.stderr).toContain("FILE_EXISTS");
  });
});
