import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { positiveAlphaBars, trainingSigmas } from "../../src/calibrate/schedulers/betas.ts";
import { checkConfig, completeConfig } from "../../src/calibrate/schedulers/config.ts";
import { createScheduler, samplerNamed } from "../../src/calibrate/schedulers/index.ts";
import { karrasSigmas } from "../../src/calibrate/schedulers/sigmas.ts";

/** Published schedules live in float32, so agreement ends around the fourth digit where little signal is left. */
const TOLERANCE = 1e-4;

interface Case {
  readonly config: Record<string, never> & { readonly _class_name: string };
  readonly steps: number;
  readonly timesteps: number;
  readonly init_noise_sigma: number;
  readonly samples: readonly (readonly number[])[];
  readonly sigmas?: number;
  readonly noise?: number;
}

const reference = JSON.parse(readFileSync(new URL("./schedulers.json", import.meta.url), "utf8")) as {
  readonly arrays: readonly unknown[];
  readonly cases: readonly Case[];
};
const array = <T>(index: number): T => reference.arrays[index] as T;

/** Largest difference relative to the largest reference number, which is how float32 errors scale. */
function relativeError(actual: ArrayLike<number>, expected: readonly number[]): number {
  expect(actual.length).toBe(expected.length);
  const scale = Math.max(...expected.map(Math.abs), 1e-3);
  return Math.max(...expected.map((e, i) => Math.abs(actual[i]! - e) / scale));
}

const toyModel = (x: Float32Array, t: number): Float32Array =>
  x.map((v, k) => 0.3 * v + 0.1 * Math.sin(t / 100) + 0.05 * [1, -1, 2, 0][k]!);

function label(c: Case, index: number): string {
  const parts = Object.entries(c.config).map(([k, v]) => (typeof v === "string" ? v : `${k}=${v}`));
  return `${index} ${parts.filter((p) => !/^(num_train|beta_(start|end))/.test(p)).join(" ")}`;
}

describe("schedulers against the reference", () => {
  it("covers every recorded case", () => {
    expect(reference.cases.length).toBe(182);
  });

  it.each(reference.cases.map((c, i) => [label(c, i), c] as const))("%s", (_, c) => {
    const plan = createScheduler(c.config, { steps: c.steps });
    const expectedTimesteps = array<number[]>(c.timesteps);
    expect(relativeError(plan.timesteps, expectedTimesteps)).toBeLessThan(TOLERANCE);
    expect(Math.abs(plan.initNoiseSigma / c.init_noise_sigma - 1)).toBeLessThan(TOLERANCE);

    if (c.sigmas !== undefined) {
      const expected = array<number[]>(c.sigmas);
      if (expected.length === plan.sigmas.length) {
        expect(relativeError(plan.sigmas, expected)).toBeLessThan(TOLERANCE);
      } else {
        // The multistep solvers recorded their training table, or its respacing in ascending order.
        const config = completeConfig(
          checkConfig(c.config, "case"),
          samplerNamed(c.config._class_name, "case"),
          "case",
        );
        const training = trainingSigmas(positiveAlphaBars(config));
        const table = config.use_karras_sigmas
          ? karrasSigmas(training[training.length - 1]!, training[0]!, c.steps).reverse()
          : training;
        for (const [i, s] of expected.entries()) expect(Math.abs(table[i]! / s - 1)).toBeLessThan(TOLERANCE);
      }
    }

    const noise = c.noise === undefined ? undefined : array<number[][]>(c.noise);
    const run = plan.start();
    let x: Float64Array = Float64Array.from([0.7, -1.1, 0.2, 1.9], (v) => v * c.init_noise_sigma);
    for (let i = 0; i < plan.timesteps.length; i++) {
      const output = toyModel(plan.scaleInput(x, i), plan.timesteps[i]!);
      const drawn = noise?.[i];
      if (plan.usesNoise(i)) expect(drawn).toBeDefined();
      x = run.step(output, i, x, drawn === undefined ? {} : { noise: Float64Array.from(drawn) });
      const error = relativeError(x, c.samples[i]!);
      expect(error).toBeLessThan(TOLERANCE);
    }
  });
});
