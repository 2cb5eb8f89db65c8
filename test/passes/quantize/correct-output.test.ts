import { beforeAll, describe, expect, it } from "vitest";
import { denseFrom, floats as numbers } from "../../../src/calibrate/dense.ts";
import type { Oracle } from "../../../src/calibrate/statistics/types.ts";
import { ModelBuilder } from "../../../src/ir/build.ts";
import { cloneModel } from "../../../src/ir/clone.ts";
import type { DType } from "../../../src/ir/dtype.ts";
import type { Dense } from "../../../src/ir/evaluator.ts";
import type { Model } from "../../../src/ir/graph.ts";
import { inferShapes } from "../../../src/ir/infer.ts";
import { f32Tensor } from "../../../src/ir/tensor.ts";
import { verifyModel } from "../../../src/ir/verify.ts";
import { createRng, gaussian } from "../../../src/numeric/rng.ts";
import type { Decision, SamplingFacts } from "../../../src/passes/pass.ts";
import { type CorrectOutputOptions, correctOutput } from "../../../src/passes/quantize/correct-output.ts";
import { target as targetById } from "../../../src/targets/index.ts";
import type { Target } from "../../../src/targets/target.ts";
import { recordOracle } from "../../calibrate/oracle.ts";
import { runtime } from "../harness.ts";

const CHANNELS = 3;
const STEPS = [900, 500, 100];

/** What is planted at a timestep: the output becomes `y · gain + offset`. */
interface Planted {
  readonly gain: (t: number) => number;
  readonly offset: (t: number, c: number) => number;
}
const PLANTED: Planted = { gain: (t) => 1.1 + t / 5000, offset: (t, c) => (c - 1) * (0.05 + t / 20000) };

interface Shape {
  readonly time: DType;
  readonly timeDims: readonly (number | string)[];
}

/** A toy denoiser y = conv(x) + cos(t), and the same with an affine error that depends linearly on the timestep. */
function toy({ time, timeDims }: Shape, planted: Planted | null, narrow = false): Model {
  const b = new ModelBuilder({ opset: 17 });
  const x = b.input("sample", "f32", ["batch", CHANNELS, 4, 4]);
  const t = b.input("timestep", time, [...timeDims]);
  const weight = f32Tensor(gaussian(createRng(1, "w"), CHANNELS * CHANNELS * 9), [CHANNELS, CHANNELS, 3, 3]);
  const y = b.node("Conv", [x, b.constant(weight)], { pads: [1, 1, 1, 1] });
  const column = b.constant({
    dtype: "i64",
    dims: [4],
    source: { kind: "inline", bytes: new Uint8Array(BigInt64Array.of(-1n, 1n, 1n, 1n).buffer) },
  });
  const ft = b.node("Reshape", [b.node("Cast", [t], { to: 1 }), column]);
  let out = b.node("Add", [y, b.node("Cos", [b.node("Mul", [ft, b.constant(f32Tensor([0.01], []))])])]);
  if (planted !== null) {
    const line = (f: (t: number) => number[], dims: number[]) => {
      const [at0, slope] = [f(0), f(1).map((v, i) => v - f(0)[i]!)];
      return b.node("Add", [
        b.node("Mul", [ft, b.constant(f32Tensor(slope, dims))]),
        b.constant(f32Tensor(at0, dims)),
      ]);
    };
    const gain = line((s) => [planted.gain(s)], [1, 1, 1, 1]);
    const offset = line((s) => [0, 1, 2].map((c) => planted.offset(s, c)), [1, CHANNELS, 1, 1]);
    out = b.node("Add", [b.node("Mul", [out, gain]), offset]);
  }
  // The CPU has no sigmoid of bfloat16.
  if (narrow) out = b.node("Cast", [b.node("Sigmoid", [b.node("Cast", [out], { to: 16 })])], { to: 1 });
  return b
    .output(out, "out_sample", { kind: "tensor", dtype: "f32", shape: ["batch", CHANNELS, 4, 4] })
    .build();
}

function feeds({ time, timeDims }: Shape, timestep: number, seeds: number): Map<string, Dense> {
  const rows = 2 * seeds;
  const sample = gaussian(createRng(3, "x", timestep), rows * CHANNELS * 16);
  const dims = timeDims.map((d) => (d === "batch" ? rows : 1));
  return new Map<string, Dense>([
    ["sample", denseFrom("f32", [rows, CHANNELS, 4, 4], sample)],
    ["timestep", denseFrom(time, dims, new Array<number>(dims[0] ?? 1).fill(timestep))],
  ]);
}

async function oracleOf(shape: Shape, model: Model, seeds = 4): Promise<Oracle> {
  return await recordOracle({
    model,
    runtime: await runtime(),
    output: "out_sample",
    guidance: 2,
    halves: 2,
    calls: STEPS.map((timestep) => ({ timestep, weight: 1, feeds: feeds(shape, timestep, seeds) })),
  });
}

const DEFAULTS: CorrectOutputOptions = {
  estimator: "ptqd",
  on: "guided",
  lookup: "interpolate",
  positive: false,
  minGain: 0.02,
};

async function correct(
  model: Model,
  oracle: Oracle,
  options: Partial<CorrectOutputOptions> = {},
  published: SamplingFacts[] = [],
  target: Target | null = null,
): Promise<Decision[]> {
  const rt = await runtime();
  const decisions: Decision[] = [];
  await correctOutput.run(
    model.graph,
    { ...DEFAULTS, ...options },
    {
      model,
      target,
      seed: 0,
      evaluator: rt.evaluator,
      reader: rt.reader,
      ranges: null,
      statistics: null,
      collect: async () => null,
      collectCross: async () => null,
      oracle,
      shapes: () => inferShapes(model),
      decide: (d) => decisions.push(d),
      publish: (facts) => void published.push(facts),
    },
  );
  return decisions;
}

async function outputs(model: Model, f: ReadonlyMap<string, Dense>): Promise<Float32Array> {
  const session = await (await runtime()).openSession(model, {});
  try {
    return numbers((await session.run(f)).get("out_sample")!);
  } finally {
    await session.release();
  }
}

function largest(a: Float32Array, b: Float32Array): number {
  return a.reduce((m, v, i) => Math.max(m, Math.abs(v - b[i]!)), 0);
}

const BATCH: Shape = { time: "i64", timeDims: ["batch"] };
const SHAPES: readonly Shape[] = [
  BATCH,
  { time: "i64", timeDims: [1] },
  { time: "i64", timeDims: ["steps"] },
  { time: "f32", timeDims: ["batch"] },
  { time: "f32", timeDims: [] },
  { time: "i64", timeDims: [] },
];

describe("correct-output", () => {
  it.each(SHAPES.map((s) => [`${s.time}[${s.timeDims}]`, s] as const))(
    "takes back a planted affine error exactly with a timestep %s",
    async (_, shape) => {
      const oracle = await oracleOf(shape, toy(shape, null));
      for (const estimator of ["ptqd", "mmse"] as const)
        for (const on of ["guided", "halves"] as const) {
          const broken = toy(shape, PLANTED);
          const decisions = await correct(broken, oracle, { estimator, on });
          expect(decisions.at(-1)).toMatchObject({ kind: "applied", rule: `${estimator}-${on}` });
          expect(verifyModel(broken, { types: true }).filter((d) => d.severity === "error")).toEqual([]);
          for (const call of oracle.calls) {
            const truth = numbers(call.outputs.get("out_sample")!);
            expect(largest(await outputs(broken, call.feeds), truth)).toBeLessThan(2e-5);
          }
        }
    },
  );

  it("interpolates between calibrated timesteps, holds still outside them, and rounds to the nearest when asked", async () => {
    const gains = (t: number): number => 1 / PLANTED.gain(t);
    const expected: Record<string, (t: number) => number> = {
      interpolate: (t) => {
        const at = Math.min(900, Math.max(100, t));
        const [a, b] = at < 500 ? [100, 500] : [500, 900];
        return gains(a) + ((gains(b) - gains(a)) * (at - a)) / (b - a);
      },
      nearest: (t) => gains(t < 300 ? 100 : t < 700 ? 500 : 900),
    };
    const flat: Planted = { gain: PLANTED.gain, offset: () => 0 };
    for (const lookup of ["interpolate", "nearest"] as const) {
      const plain = toy(BATCH, flat);
      const fixed = cloneModel(plain);
      await correct(fixed, await oracleOf(BATCH, toy(BATCH, null)), { lookup });
      for (const t of [0, 100, 137, 299, 301, 650, 900, 999]) {
        const f = feeds(BATCH, t, 1);
        const [before, after] = [await outputs(plain, f), await outputs(fixed, f)];
        const gain = expected[lookup]!(t);
        expect(
          largest(
            before.map((v) => v * gain),
            after,
          ),
        ).toBeLessThan(1e-4);
      }
    }
  });

  it("gives every row of a batch the correction of its own timestep", async () => {
    const broken = toy(BATCH, PLANTED);
    await correct(broken, await oracleOf(BATCH, toy(BATCH, null)));
    const f = feeds(BATCH, 500, 2);
    f.set("timestep", denseFrom("i64", [4], [900, 100, 500, 900]));
    expect(largest(await outputs(toy(BATCH, null), f), await outputs(broken, f))).toBeLessThan(2e-5);
  });

  describe("does nothing, and says why,", () => {
    let oracle: Oracle;
    beforeAll(async () => {
      oracle = await oracleOf(BATCH, toy(BATCH, null));
    });
    it("when the model is unchanged", async () => {
      const same = toy(BATCH, null);
      const { version } = same.graph;
      expect(await correct(same, oracle)).toMatchObject([{ kind: "skipped", rule: "nothing-to-correct" }]);
      expect(same.graph.version).toBe(version);
    });
    it("when the error is noise that held-out seeds do not share", async () => {
      const noisy = cloneModel(toy(BATCH, null));
      // The "truth" is the output of the unchanged model plus noise drawn anew for every element.
      const shaken: Oracle = {
        ...oracle,
        calls: oracle.calls.map((c) => {
          const truth = numbers(c.outputs.get("out_sample")!);
          const noise = gaussian(createRng(9, "noise", c.timestep), truth.length);
          const moved = truth.map((v, i) => v + 0.3 * noise[i]!);
          return { ...c, outputs: new Map([["out_sample", denseFrom("f32", [8, CHANNELS, 4, 4], moved)]]) };
        }),
      };
      const { version } = noisy.graph;
      const decisions = await correct(noisy, shaken);
      expect(decisions.at(-1)).toMatchObject({ kind: "skipped", rule: "not-helping" });
      expect(noisy.graph.version).toBe(version);
    });
    it("a build that does not run here, unless it is one for this processor", async () => {
      const strange = toy(BATCH, PLANTED, true);
      const decisions = await correct(strange, oracle, {}, [], targetById("tensorrt"));
      expect(decisions).toMatchObject([
        { kind: "skipped", rule: "not-run", why: expect.stringMatching(/does not run on the CPU/) },
      ]);
      const here = correct(strange, oracle, {}, [], targetById("cpu-x64"));
      await expect(here).rejects.toMatchObject({ code: "RUNTIME_REJECTED" });
    });

    it("when no seed can be held out", async () => {
      const single = await oracleOf(BATCH, toy(BATCH, null), 1);
      expect(await correct(toy(BATCH, PLANTED), single)).toMatchObject([{ rule: "single-seed" }]);
    });
    it("when there is no trajectory", async () => {
      expect(await correct(toy(BATCH, PLANTED), null as never)).toMatchObject([
        { kind: "skipped", rule: "no-oracle" },
      ]);
    });
  });

  it("publishes the variance that is left per timestep: of noise all of it, of a correctable error nothing", async () => {
    const oracle = await oracleOf(BATCH, toy(BATCH, null));
    const shaken: Oracle = {
      ...oracle,
      calls: oracle.calls.map((c) => {
        const truth = numbers(c.outputs.get("out_sample")!);
        const noise = gaussian(createRng(9, "left", c.timestep), truth.length);
        const moved = truth.map((v, i) => v + (c.timestep / 1000) * noise[i]!);
        return { ...c, outputs: new Map([["out_sample", denseFrom("f32", [8, CHANNELS, 4, 4], moved)]]) };
      }),
    };
    const left: SamplingFacts[] = [];
    await correct(toy(BATCH, null), shaken, {}, left);
    await correct(toy(BATCH, PLANTED), oracle, {}, left);
    const [noisy, corrected] = left.map((f) => f.residualVariance!);
    expect(noisy!.timesteps).toEqual([100, 500, 900]);
    expect(noisy!.guidance).toBe(oracle.guidance);
    // Guided: (1 - g)·unconditional + g·conditional, whose noises are independent.
    const g = oracle.guidance;
    for (const [i, t] of noisy!.timesteps.entries()) {
      const expected = (t / 1000) ** 2 * (g * g + (1 - g) ** 2);
      expect(noisy!.variance[i]! / expected).toBeGreaterThan(0.6);
      expect(noisy!.variance[i]! / expected).toBeLessThan(1.5);
      expect(corrected!.variance[i]!).toBeLessThan(1e-9);
    }
  });

  it("reports slope, residual variance and held-out dB of every timestep", async () => {
    const decisions = await correct(toy(BATCH, PLANTED), await oracleOf(BATCH, toy(BATCH, null)));
    const steps = decisions.filter((d) => d.rule === "step");
    expect(steps).toHaveLength(3);
    expect(steps[0]!.why).toMatch(/^t=100: slope 0\.120, offsets up to 0\.0\d+, residual variance /);
    expect(steps.every((d) => d.error!.value > 60)).toBe(true);
  });
});
