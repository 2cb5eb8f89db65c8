import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { compile, DiffpressError, type Recipe } from "../../../src/index.ts";

const SOURCE = new URL("../../../fixtures/cifar-unet", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "diffpress-split-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const PRUNE = { score: "magnitude", repair: false, allocate: "uniform", dims: { batch_size: 1 } } as const;
const QUANTIZE = { method: "rtn", format: "w8" } as const;
const base: Recipe = {
  extends: "exact",
  calibration: { samples: 1, steps: 3 },
  passes: ["clean", { "prune-structures": { ...PRUNE, ratio: 0.3 } }, { "quantize-weights": QUANTIZE }],
  targets: { "cpu-x64": {} },
};
const over = {
  "prune-structures": [{ ratio: 0.02 }],
  "quantize-weights": [{ format: "w8" }, { format: "w4" }],
};

async function build(recipe: Recipe, name: string, id = "cpu-x64") {
  const { report } = await compile(SOURCE, { recipe, out: join(folder, name), verify: false });
  const target = report.targets[id]!;
  const weights = readFileSync(join(folder, name, id, "unet/model.onnx"));
  return { unet: target.components.find((c) => c.name === "unet")!, target, weights };
}

describe("an error budget split over passes", () => {
  it("gives the smallest measured build that keeps it, as if the options had been written", {
    timeout: 180_000,
  }, async () => {
    const { unet, weights } = await build({ ...base, split: { sqnr: 20, over } }, "bytes");
    const split = unet.split!;
    expect(split).toMatchObject({ wanted: 20, per: "bytes", met: true });
    expect(split.builds.slice(0, 4).map((b) => b.predicted)).toEqual([null, null, null, null]);
    const taken = split.builds[split.chosen]!;
    for (const b of split.builds) if (b.measured >= 20) expect(taken.size).toBeLessThanOrEqual(b.size);
    expect(taken.measured).toBeGreaterThanOrEqual(20);
    expect(taken.size).toBeLessThan(split.builds[0]!.size / 3);
    const passes = Object.entries(taken.options).map(([name, o]) =>
      name === "prune-structures"
        ? { [name]: o === null ? null : { ...PRUNE, ...o } }
        : { [name]: o === null ? null : { ...QUANTIZE, ...o } },
    );
    const plain = await build({ ...base, passes: ["clean", ...passes] }, "plain");
    expect(plain.unet.split).toBeNull();
    expect(plain.weights.equals(weights)).toBe(true);
  });

  it("counts operations where those are to be saved, and leaves passes out that save none", async () => {
    const { unet } = await build({ ...base, split: { sqnr: 8, per: "flops", over } }, "flops");
    const taken = unet.split!.builds[unet.split!.chosen]!;
    expect(taken.size).toBeLessThan(unet.split!.builds[0]!.size);
    expect(taken.options["quantize-weights"]).toBeNull();
    expect(unet.flops!.after).toBeLessThan(unet.flops!.before);
  });

  it("estimates seconds on the machine of the target, and says which", async () => {
    const recipe: Recipe = {
      ...base,
      passes: ["clean", { "quantize-weights": QUANTIZE }],
      targets: { cuda: {} },
      split: { sqnr: 15, per: "latency", over: { "quantize-weights": over["quantize-weights"] } },
    };
    const { unet } = await build(recipe, "latency", "cuda");
    const { per, basis, builds, chosen } = unet.split!;
    expect(per).toBe("latency");
    expect(basis).toMatch(/^roofline of an H100 SXM: published peaks/);
    // Packed linear layers read less, the narrower the less; a run of microseconds is no processor's.
    expect(builds[0]!.size).toBeLessThan(1e-3);
    expect(builds.slice(0, 3).map((b) => b.size)).toEqual(
      builds
        .slice(0, 3)
        .map((b) => b.size)
        .sort((a, b) => b - a),
    );
    expect(builds[chosen]!.size).toBeLessThan(builds[0]!.size);
    expect(unet.estimate!.seconds).toBeGreaterThan(0);
  });

  it("says when nothing keeps the budget, and builds without the passes", async () => {
    const { unet } = await build(
      { ...base, split: { sqnr: 119, over: { "quantize-weights": [{ format: "w4" }] } } },
      "strict",
    );
    const { met, chosen, builds } = unet.split!;
    // What is pruned is listed without a level and always runs.
    expect(builds[0]!.measured).toBeLessThan(119);
    expect(met).toBe(false);
    expect(builds[chosen]!.options).toEqual({ "quantize-weights": null });
  });

  it.each([
    ["a pass that is not listed", { "sparsify-weights": [{}] }, /lists nowhere/],
    ["options that a pass does not have", { "prune-structures": [{ share: 1 }] }, /share/],
    ["an exact pass", { "fuse-gemm": [{}] }, /fuse-gemm/],
  ])("refuses %s", async (_, wrong, message) => {
    const recipe = { ...base, split: { sqnr: 20, over: wrong } } as Recipe;
    const error = await compile(SOURCE, { recipe, out: join(folder, "refused"), verify: false }).catch(
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(DiffpressError);
    expect((error as DiffpressError).message).toMatch(message);
  });
});
