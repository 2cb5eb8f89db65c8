import { elementCount } from "../ir/dtype.ts";
import type { Dense } from "../ir/evaluator.ts";
import { createRng, gaussian } from "../numeric/rng.ts";
import type { Denoiser } from "./denoiser.ts";
import { floats } from "./dense.ts";
import { guidanceHalves, guide, splitVariance } from "./guidance.ts";
import { sampleTrajectory, type TrajectoryOptions } from "./sampler.ts";
import type { Seed } from "./seeds.ts";

/** How errors of single steps are transported to the final sample. */
export interface ErrorTransport {
  readonly timesteps: readonly number[];
  /**
   * Per call: squared error of the final sample over squared error of the guided output, when only that call errs. For
   * DDIM without feedback this is (σ_i − σ_{i+1})² of the noise scale σ = √((1−ᾱ)/ᾱ) (Song et al. 2021, eq. 13).
   */
  readonly gains: Float64Array;
  /** Gains scaled to mean 1. */
  readonly weights: Float64Array;
}

/** What perturbs a step. */
export interface TransportOptions {
  /** Size of the seeded noise added to the guided output, relative to its norm; default 0.01. */
  readonly relative?: number;
  /** A model whose own error at the step is transported instead of noise. */
  readonly candidate?: Denoiser;
}

/** Output with the same seeded noise added to both guidance halves, so that the guided output moves by just that. */
function perturbed(
  output: Dense,
  seeds: readonly Seed[],
  at: { call: number; size: number; relative: number; scale: number },
): Dense {
  const halves = (output.dims[0]! / seeds.length) as 1 | 2;
  const guided = guide(splitVariance(output, at.size).prediction, halves, at.scale);
  const row = elementCount(output.dims) / output.dims[0]!;
  const values = Float32Array.from(floats(output));
  for (const [k, seed] of seeds.entries()) {
    const noise = gaussian(createRng(seed.root, "transport", seed.index, at.call), at.size);
    const energy = (v: Float32Array): number => v.reduce((a, b) => a + b * b, 0);
    const factor =
      at.relative * Math.sqrt(energy(guided.subarray(k * at.size, (k + 1) * at.size)) / energy(noise));
    for (let h = 0; h < halves; h++) {
      const from = (h * seeds.length + k) * row;
      for (let i = 0; i < at.size; i++) values[from + i]! += factor * noise[i]!;
    }
  }
  return { ...output, bytes: new Uint8Array(values.buffer) };
}

/**
 * Measures how errors are transported: each call in turn errs alone, everything after it runs on what came of that.
 * Outputs before it are those of one undisturbed run, so S calls cost S(S+1)/2 model runs per group. The noise of
 * stochastic samplers is the same in all runs. Fails with what sampling fails with.
 */
export async function measureTransport(
  plan: Omit<TrajectoryOptions, "seeds">,
  seeds: readonly Seed[],
  options: TransportOptions = {},
): Promise<ErrorTransport> {
  const { denoiser, scheduler, guidance } = plan;
  const count = scheduler.timesteps.length;
  const batch = Math.max(1, plan.batch ?? 4);
  const size = elementCount(plan.shape);
  const halves = guidanceHalves(guidance);
  const kept: Dense[] = [];
  const sample = async (run: Denoiser["run"]): Promise<Float32Array> =>
    floats(
      (await sampleTrajectory({ ...plan, seeds, batch, denoiser: { roles: denoiser.roles, run } })).samples,
    );
  const reference = await sample(async (feeds) => {
    const output = await denoiser.run(feeds);
    kept.push(output);
    return output;
  });
  const gains = new Float64Array(count);
  for (let call = 0; call < count; call++) {
    let run = 0;
    let input = 0;
    const final = await sample(async (feeds) => {
      const at = run++;
      const original = kept[at]!;
      if (at % count < call) return original;
      if (at % count > call) return await denoiser.run(feeds);
      const from = Math.floor(at / count) * batch;
      const group = seeds.slice(from, from + batch);
      const output =
        options.candidate === undefined
          ? perturbed(original, group, {
              call,
              size,
              relative: options.relative ?? 0.01,
              scale: guidance.scale,
            })
          : await options.candidate.run(feeds);
      const guided = (d: Dense): Float32Array =>
        guide(splitVariance(d, size).prediction, halves, guidance.scale);
      input += squaredDistance(guided(output), guided(original));
      return output;
    });
    gains[call] = input === 0 ? 0 : squaredDistance(final, reference) / input;
  }
  return { timesteps: [...scheduler.timesteps], gains, weights: meanOne(gains) };
}

function squaredDistance(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  return sum;
}

/** Values scaled to mean 1; all 1 when they sum to nothing. */
export function meanOne(values: ArrayLike<number>): Float64Array {
  const out = Float64Array.from(values);
  const mean = out.reduce((a, b) => a + b, 0) / out.length;
  return mean > 0 && Number.isFinite(mean) ? out.map((v) => v / mean) : out.fill(1);
}
