import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openPipeline, openTeacher, type Pipeline, type Teacher } from "../../../src/calibrate/index.ts";
import { numbersOf } from "../../../src/calibrate/dense.ts";
import { openHeldOut } from "../../../src/calibrate/statistics/index.ts";
import { createRuntime, type Runtime } from "../../../src/runtime/index.ts";

const FIXTURE = fileURLToPath(new URL("../../../fixtures/cifar-unet", import.meta.url));

let runtime: Runtime;
let pipeline: Pipeline;
beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
  pipeline = await openPipeline(FIXTURE);
});
afterAll(async () => await runtime.close());

/** Starting noise of every trajectory and the timesteps of the calls, as the original was fed them. */
async function seen(t: Teacher): Promise<{ noises: string[]; timesteps: Set<number>; fed: Set<number> }> {
  const noises: string[] = [];
  const fed = new Set<number>();
  await t.record(async ({ feeds }, step) => {
    for (const v of numbersOf(feeds.get(t.roles.timestep.name)!)) fed.add(v);
    if (step.call > 1) return;
    const sample = feeds.get(t.roles.sample.name)!;
    const each = sample.bytes.length / sample.dims[0]!;
    for (let i = 0; i < sample.dims[0]!; i++)
      noises.push(Buffer.from(sample.bytes.slice(i * each, (i + 1) * each)).toString("base64"));
  });
  return { noises, timesteps: new Set(t.calls.map((c) => c.timestep)), fed };
}

describe("held-out trajectories", () => {
  it.each([1, 4])("share neither seeds nor timesteps with a calibration of %d steps", async (steps) => {
    const options = { steps, samples: 2, seed: 3, timesteps: "normal", weights: "measured" } as const;
    const calibration = await openTeacher(runtime, pipeline, options);
    const held = await openHeldOut(calibration, 2, { runtime, pipeline, options });
    try {
      const [a, b] = [await seen(calibration), await seen(held)];
      expect(b.noises.filter((n) => a.noises.includes(n))).toEqual([]);
      expect(held.settings).toMatchObject({ steps: steps + 1, samples: 2, seed: 3, weights: "uniform" });
      expect(held.calls.length).toBeGreaterThan(0);
      for (const t of [...b.timesteps, ...b.fed]) expect(calibration.schedule).not.toContain(t);
      expect(held.calls.every((c) => c.weight === 1)).toBe(true);
    } finally {
      await calibration.release();
      await held.release();
    }
  });
});
