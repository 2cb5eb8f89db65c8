import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { diagnosticOf, diffpress, PIPELINE, scratch } from "./harness.ts";

const dir = scratch();
const file = join(dir, "stats.npz");

beforeAll(async () => {
  const args = ["--steps", "2", "--samples", "1", "--rows", "2", "--json"];
  const outcome = await diffpress("calibrate", PIPELINE, "-o", file, ...args);
  expect(outcome.stderr).toMatch(/^wrote .*stats\.npz, [\d.]+ MB\n$/);
  expect(outcome.code).toBe(0);
  const { summary, bytes } = JSON.parse(outcome.stdout);
  expect(bytes).toBeGreaterThan(1e5);
  expect(summary).toMatchObject({ calls: 2, settings: { steps: 2, samples: 1, seed: 0 } });
  expect(summary.values.length).toBeGreaterThan(50);
});

describe("diffpress inspect --stats", () => {
  it("prints a table, or the same as JSON", async () => {
    const text = await diffpress("inspect", "--stats", file);
    expect(text).toMatchObject({ code: 0, stderr: "" });
    expect(text.stdout).toMatch(/value +channels +min +max +range ratio +outlier ratio\n[\s\S]*\nsample +3 /);
    const json = await diffpress("inspect", "--stats", file, "--json");
    const found = JSON.parse(json.stdout).values.find((v: { name: string }) => v.name === "sample");
    expect(found).toMatchObject({ channels: 3 });
  });

  it("refuses what is no such file, and neither or both of its arguments", async () => {
    const other = join(dir, "other.npz");
    writeFileSync(other, "nothing");
    expect(diagnosticOf(await diffpress("inspect", "--stats", other, "--json")).code).toBe("NPZ_INVALID");
    expect((await diffpress("inspect")).code).toBe(2);
    expect((await diffpress("inspect", PIPELINE, "--stats", file)).code).toBe(2);
  });
});

describe("diffpress calibrate", () => {
  it("refuses a model that cannot be sampled", async () => {
    const model = join(PIPELINE, "unet/model.onnx");
    const outcome = await diffpress("calibrate", model, "-o", join(dir, "x.npz"), "--json");
    expect(outcome.code).toBe(1);
    expect(diagnosticOf(outcome).code).toBe("CALIBRATION_IMPOSSIBLE");
  });
  it("refuses choices that are none", async () => {
    for (const bad of [
      ["--timesteps", "sometimes"],
      ["--weights", "heavy"],
      ["--jitter", "2"],
    ])
      expect((await diffpress("calibrate", PIPELINE, "-o", join(dir, "x.npz"), ...bad)).code).toBe(2);
  });
});
