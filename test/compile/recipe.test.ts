import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { presets } from "../../src/compile/presets/index.ts";
import { parseRecipe } from "../../src/compile/recipe/load.ts";
import { lockOf, resolveRecipe, stagesFor } from "../../src/compile/recipe/resolve.ts";
import { validateRecipe } from "../../src/compile/recipe/validate.ts";
import { DiffpressError } from "../../src/diagnostics/index.ts";

const dir = mkdtempSync(join(tmpdir(), "diffpress-recipe-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}
function failure(run: () => unknown): { code: string; details: Record<string, unknown> } {
  try {
    run();
  } catch (e) {
    if (e instanceof DiffpressError)
      return { code: e.code, details: e.diagnostic.details as unknown as Record<string, unknown> };
    throw e;
  }
  throw new Error("expected a diagnostic");
}
const names = (stages: readonly { name: string }[]): string[] => stages.map((s) => s.name);

describe("reading", () => {
  it("takes YAML and JSON", () => {
    expect(parseRecipe("seed: 3\npasses: [clean]\n", "r.yaml")).toEqual({ seed: 3, passes: ["clean"] });
    expect(parseRecipe('{"seed": 3}', "r.json")).toEqual({ seed: 3 });
  });
  it("names the nearest key for an unknown one, at any depth", () => {
    expect(failure(() => parseRecipe("tragets: {}", "r.yaml"))).toMatchObject({
      code: "RECIPE_UNKNOWN_KEY",
      details: { keys: [{ key: "tragets", nearest: "targets", at: "the top level" }] },
    });
    expect(failure(() => parseRecipe("passes:\n - fold-constant: {}", "r.yaml"))).toMatchObject({
      code: "RECIPE_UNKNOWN_KEY",
      details: { keys: [{ key: "fold-constant", nearest: "fold-constants", at: "passes[0]" }] },
    });
    expect(failure(() => parseRecipe("passes:\n - fold-constants: {maxByte: 4}", "r.yaml"))).toMatchObject({
      code: "RECIPE_UNKNOWN_KEY",
      details: { keys: [{ key: "maxByte", nearest: "maxBytes" }] },
    });
    expect(failure(() => parseRecipe("targets: {cpu-x46: {}}", "r.yaml"))).toMatchObject({
      details: { keys: [{ key: "cpu-x46", nearest: "cpu-x64" }] },
    });
  });
  it("says what is wrong with a pass name given as text", () => {
    const { code, details } = failure(() => parseRecipe("passes: [claen]", "r.yaml"));
    expect(code).toBe("RECIPE_INVALID");
    expect(JSON.stringify(details)).toContain('did you mean \\"clean\\"');
  });
  it("reports all problems of values at once", () => {
    const { code, details } = failure(() => parseRecipe("seed: -1\nshape: {h: 0}", "r.yaml"));
    expect(code).toBe("RECIPE_INVALID");
    expect(details["problems"]).toHaveLength(2);
  });
  it("refuses broken YAML and alias bombs", () => {
    expect(failure(() => parseRecipe("a: [1", "r.yaml")).code).toBe("RECIPE_UNREADABLE");
    const bomb = ["a: &a [x,x,x,x,x,x,x,x,x]"];
    for (let i = 0; i < 8; i++) bomb.push(`b${i}: &b${i} [${Array(9).fill(i === 0 ? "*a" : `*b${i - 1}`)}]`);
    expect(failure(() => parseRecipe(bomb.join("\n"), "r.yaml")).code).toBe("RECIPE_UNREADABLE");
  });
});

describe("extending", () => {
  it("lays a recipe over a preset: options in place, null skips, new passes after their neighbour", () => {
    const path = file(
      "over.yaml",
      "extends: exact\npasses:\n - dedupe-weights: {minBytes: 64}\n - remove-dead: null\n - specialise-shapes: {dims: {h: 2}}\ntargets: {cpu-x64: {}}\n",
    );
    const r = resolveRecipe(path);
    const exact = resolveRecipe(null, { preset: "exact", targets: ["cpu-x64"] });
    expect(names(r.stages)).toEqual([
      ...names(exact.stages).filter((n) => n !== "remove-dead"),
      "specialise-shapes",
    ]);
    expect(r.stages.find((s) => s.name === "dedupe-weights")?.options).toEqual({ minBytes: 64 });
  });
  it("applies overrides to one target only", () => {
    const r = resolveRecipe({
      extends: "exact",
      targets: { "cpu-x64": {}, webgpu: { passes: { simplify: null } } },
    });
    expect(names(stagesFor(r, "cpu-x64"))).toContain("simplify");
    expect(names(stagesFor(r, "webgpu"))).not.toContain("simplify");
  });
  it("follows files relative to the recipe and refuses circles", () => {
    file("base.yaml", "seed: 7\nextends: exact\n");
    const path = file("child.yaml", "extends: ./base.yaml\ntargets: {webgpu: {}}\n");
    expect(resolveRecipe(path)).toMatchObject({ seed: 7 });
    file("a.yaml", "extends: ./b.yaml\n");
    file("b.yaml", "extends: ./a.yaml\n");
    expect(failure(() => resolveRecipe(join(dir, "a.yaml"))).code).toBe("RECIPE_CYCLE");
  });
  it("suggests a preset for a typo and reports a missing file", () => {
    expect(failure(() => resolveRecipe({ extends: "exakt" }))).toMatchObject({
      code: "PRESET_UNKNOWN",
      details: { nearest: "exact" },
    });
    expect(failure(() => resolveRecipe(join(dir, "none.yaml"))).code).toBe("RECIPE_UNREADABLE");
  });
  it("lets flags win: targets replace, shape adds", () => {
    const r = resolveRecipe(
      { extends: "exact", shape: { b: 1, h: 8 }, targets: { webgpu: { shape: { h: 4 } } } },
      { targets: ["webgpu", "qnn-htp"], shape: { b: 2 } },
    );
    expect([...r.targets.keys()]).toEqual(["webgpu", "qnn-htp"]);
    expect(r.targets.get("webgpu")?.shape).toEqual({ h: 4 });
    expect(r.shape).toEqual({ b: 2, h: 8 });
  });
});

describe("presets and lock", () => {
  it.each(presets.map((p) => [p.name, p.recipe] as const))("%s is a valid recipe", (name, recipe) => {
    expect(() => validateRecipe(recipe, name)).not.toThrow();
    expect(resolveRecipe(null, { preset: name, targets: ["cpu-x64"] }).stages.length).toBeGreaterThan(0);
  });
  it("resolves its own lock to the same recipe", () => {
    const r = resolveRecipe({
      extends: "exact",
      seed: 5,
      shape: { b: 2 },
      targets: { webgpu: { passes: { simplify: null } }, "cpu-x64": {} },
      budgets: { bytes: "30%", sqnr: { mean: 30 } },
    });
    const unet = [{ name: "unet", kind: "denoiser" as const }];
    const lock = lockOf(r, unet);
    expect(() => validateRecipe(lock, "recipe.lock.yaml")).not.toThrow();
    expect(lockOf(resolveRecipe(lock), unet)).toEqual(lock);
  });
});
