import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type CalibrateResult, calibrate, inspectStatistics } from "../../src/compile/calibrate.ts";
import { openCalibration } from "../../src/compile/calibration.ts";
import { prepare } from "../../src/compile/prepare.ts";
import type { CalibrationSampling } from "../../src/compile/recipe/types.ts";
import { hashSource } from "../../src/compile/source.ts";
import { DiffpressError } from "../../src/diagnostics/index.ts";
import { createRuntime, type Runtime } from "../../src/runtime/index.ts";

const FIXTURE = fileURLToPath(new URL("../../fixtures/cifar-unet", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "diffpress-calibration-"));
const artifact = join(dir, "stats.npz");
const SETTINGS = { steps: 2, samples: 1 };

let runtime: Runtime;
let made: CalibrateResult;
beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
  made = await calibrate(FIXTURE, artifact, { ...SETTINGS, rows: 2 });
});
afterAll(async () => {
  await runtime.close();
  rmSync(dir, { recursive: true, force: true });
});

/** What a pass would be given under these calibration settings. */
async function given(calibration: CalibrationSampling, exact = true) {
  const prepared = await prepare(FIXTURE, { recipe: { calibration }, verify: false });
  const component = prepared.source.components.find((c) => c.info.denoiser)!;
  const input = hashSource(prepared.source);
  const opened = openCalibration({ prepared, runtime, obstacle: async () => null, input });
  const measures = opened.of(component, {}, "fused");
  try {
    const request = { values: [{ name: "sample", axis: 1, rows: 2 }], grams: [] };
    const statistics = await measures.statistics(component.model, request, exact);
    const crossed = await measures.cross({ compressed: component.model, original: component.model }, [
      { layer: "a", value: "sample", axis: 1, unfold: null },
      { layer: "b", value: "sample", axis: 1, unfold: null },
      { layer: "c", value: "nowhere", axis: 1, unfold: null },
    ]);
    return {
      crossed: crossed!,
      statistics: statistics!,
      oracle: (await measures.oracle())!,
      again: await measures.oracle(),
    };
  } finally {
    await opened.release();
  }
}

async function codeOf(work: Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    await work;
  } catch (e) {
    if (e instanceof DiffpressError) return { code: e.diagnostic.code, message: e.message };
    throw e;
  }
  throw new Error("nothing was refused");
}

describe("calibration of a build", () => {
  it("collects on the recipe's trajectory and records the oracle once", async () => {
    const { statistics, oracle, again } = await given({ ...SETTINGS, timesteps: [0], weights: "uniform" });
    expect(statistics.calls).toHaveLength(1);
    expect(statistics.value("sample")).toMatchObject({ channels: 3, rows: 2 });
    expect(oracle.calls.map((c) => c.timestep)).toEqual(statistics.calls.map((c) => c.timestep));
    expect(again).toBe(oracle);
  });

  it("takes statistics from an artifact of the same input and trajectory", async () => {
    const found = await inspectStatistics(artifact);
    expect(found).toEqual(made.summary);
    const { statistics } = await given({ ...SETTINGS, artifact });
    const sample = found.values.find((v) => v.name === "sample")!;
    expect(Math.max(...statistics.value("sample")!.max)).toBe(sample.max);
    const fresh = await given(SETTINGS);
    expect(statistics.value("sample")).toEqual(fresh.statistics.value("sample"));
  });

  it("refuses an artifact of another trajectory", async () => {
    const { code, message } = await codeOf(given({ steps: 3, samples: 1, artifact }));
    expect(code).toBe("STATISTICS_STALE");
    expect(message).toContain("its steps is 2, the build's 3");
  });

  it("crosses layer inputs of two models on the same trajectory, once for layers with one input", async () => {
    const { crossed } = await given(SETTINGS);
    expect([...crossed.keys()]).toEqual(["a", "b"]);
    const [a, b] = [crossed.get("a")!, crossed.get("b")!];
    expect(a.own).toBe(b.own);
    expect(a.cross).toEqual(a.own);
    expect(Math.max(...a.own)).toBeGreaterThan(0);
  });

  it("does not look at an artifact once something lossy has run", async () => {
    const { statistics } = await given({ ...SETTINGS, steps: 3, artifact }, false);
    expect(statistics.calls).toHaveLength(3);
  });
});
