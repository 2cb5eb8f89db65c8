import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  calibrationSeeds,
  collectRanges,
  denseFrom,
  floats,
  observeRanges,
  openPipeline,
  planTrajectory,
  sampleTrajectory,
  sessionDenoiser,
} from "../../src/calibrate/index.ts";
import { ModelBuilder } from "../../src/ir/build.ts";
import { intAttr, type Model } from "../../src/ir/graph.ts";
import { readModel } from "../../src/ir/onnx/index.ts";
import { f32Tensor } from "../../src/ir/tensor.ts";
import { tensorType } from "../../src/ir/types.ts";
import { createRuntime, type Runtime } from "../../src/runtime/index.ts";

const FIXTURE = fileURLToPath(new URL("../../fixtures/cifar-unet", import.meta.url));

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createRuntime({ workers: 0 });
});
afterAll(() => runtime.close());

/** x → x·2 → exp → +1, with an integer and a half-precision branch. */
function toy(opset: number): Model {
  const b = new ModelBuilder({ opset });
  const x = b.input("x", "f32", ["n", 3]);
  const twice = b.node("Mul", [x, b.constant(f32Tensor([2], []))], {}, { outputNames: ["twice"] });
  const exp = b.node("Exp", [twice], {}, { outputNames: ["exp"] });
  const half = b.node("Cast", [twice], { to: intAttr(10) }, { outputNames: ["half"] });
  const whole = b.node("Cast", [twice], { to: intAttr(7) }, { outputNames: ["whole"] });
  b.output(exp, undefined, tensorType("f32", ["n", 3]));
  b.output(half, undefined, tensorType("f16", ["n", 3]));
  b.output(whole, undefined, tensorType("i64", ["n", 3]));
  return b.build();
}
const feed = (...values: number[]) => new Map([["x", denseFrom("f32", [values.length / 3, 3], values)]]);

describe("observed ranges", () => {
  it.each([11, 13, 17, 20])("are the extremes over all runs (opset %i)", async (opset) => {
    const model = toy(opset);
    const before = model.graph.nodeCount;
    const r = await observeRanges(model, runtime, [feed(-1, 0, 2), feed(-3, 0, 1, 0.5, 0, 0)]);
    expect(model.graph.nodeCount).toBe(before);
    expect([...r.entries.keys()]).toEqual(["x", "twice", "exp", "half"]);
    expect(r.get("x")).toEqual({ min: -3, max: 2, absMax: 3, notFinite: 0 });
    expect(r.get("twice")).toEqual({ min: -6, max: 4, absMax: 6, notFinite: 0 });
    expect(r.get("half")).toMatchObject({ min: -6, max: 4 });
    expect(r.get("exp")!.max).toBeCloseTo(Math.exp(4), 3);
    expect(r.get("whole")).toBeUndefined();
    expect(r.runs).toBe(2);
    expect(r.diagnostics).toEqual([]);
  });

  it("are the same in several rounds", async () => {
    const feeds = [feed(-1, 0, 2), feed(5, 0, 1)];
    const one = await observeRanges(toy(17), runtime, feeds);
    const many = await observeRanges(toy(17), runtime, feeds, { valuesPerRound: 1 });
    expect([...many.entries]).toEqual([...one.entries]);
  });

  it("notice overflow and NaN, also where the rest is finite", async () => {
    const overflow = await observeRanges(toy(17), runtime, [feed(1, 2, 3), feed(60, 0, 0)]);
    expect(overflow.get("exp")).toEqual({
      min: Number.NEGATIVE_INFINITY,
      max: Number.POSITIVE_INFINITY,
      absMax: Number.POSITIVE_INFINITY,
      notFinite: 1,
    });
    expect(overflow.get("twice")!.notFinite).toBe(0);
    expect(overflow.diagnostics.map((d) => d.code)).toEqual(["RANGE_NOT_FINITE"]);
    for (const at of [0, 1, 2]) {
      const values = [0.5, 1, 2];
      values[at] = Number.NaN;
      const nan = await observeRanges(toy(17), runtime, [feed(...values)]);
      expect(nan.get("x")!.notFinite).toBe(1);
    }
  });
});

describe("ranges along a trajectory", () => {
  it("are those of the pipeline's own calibration run", async () => {
    const pipeline = await openPipeline(FIXTURE);
    const model = await readModel(pipeline.denoiser!.model);
    const options = { steps: 2, samples: 2, seed: 5, batch: 2 };
    const ranges = await collectRanges(model, runtime, pipeline, options);
    expect(ranges.runs).toBe(2);
    expect(ranges.diagnostics).toEqual([]);
    expect(ranges.entries.size).toBeGreaterThan(900);

    const session = await runtime.openSession(pipeline.denoiser!.model);
    const plan = await planTrajectory(pipeline, runtime, sessionDenoiser(session), options);
    let fed = 0;
    let answered = 0;
    await sampleTrajectory({
      ...plan,
      seeds: calibrationSeeds(5, 2),
      onStep: ({ feeds, output }) => {
        fed = Math.max(fed, ...floats(feeds.get("sample")!).map(Math.abs));
        answered = Math.max(answered, ...floats(output).map(Math.abs));
      },
    });
    await session.release();
    expect(ranges.get("sample")!.absMax).toBeCloseTo(fed, 4);
    expect(ranges.get("out_sample")!.absMax).toBeCloseTo(answered, 3);
  });
});
