import { energies, ratioDb } from "./metrics/sqnr.ts";
import { guided, type Predictor } from "./predictor.ts";
import type { ProbePoint } from "./trajectory.ts";
import type { NoiseFloor } from "./types.ts";

/** dB of a denoiser against recorded outputs, per point. */
export interface ProbeResult {
  readonly steps: readonly number[];
  readonly mean: number;
  readonly worst: number;
  readonly maxAbs: number;
}

/** Runs another session of the same model over recorded points and compares with what was recorded there. */
export async function probePredictor(
  predictor: Predictor,
  points: readonly ProbePoint[],
  guidance: number,
  recorded: (p: ProbePoint) => Float32Array,
): Promise<ProbeResult> {
  const steps: number[] = [];
  let maxAbs = 0;
  for (const p of points) {
    const expected = recorded(p);
    const found = guided(await predictor.predict(p.input, p.timestep, p.conditions), guidance);
    const e = energies(expected, found);
    steps.push(ratioDb(e.signal, e.noise));
    for (let i = 0; i < expected.length; i++) maxAbs = Math.max(maxAbs, Math.abs(expected[i]! - found[i]!));
  }
  const mean = steps.reduce((sum, v) => sum + v, 0) / Math.max(1, steps.length);
  return { steps, mean, worst: Math.min(...steps), maxAbs };
}

/** Runs the samples of a batch in pieces of `size` and puts the answers together. */
export function split(predictor: Predictor, size: number): Predictor {
  return {
    async predict(samples, timestep, conditions) {
      const width = samples.length / conditions.length;
      const conditional: Float32Array[] = [];
      const unconditional: Float32Array[] = [];
      const variance: Float32Array[] = [];
      for (let k = 0; k < conditions.length; k += size) {
        const piece = samples.slice(k * width, (k + size) * width);
        const halves = await predictor.predict(piece, timestep, conditions.slice(k, k + size));
        conditional.push(halves.conditional);
        if (halves.unconditional !== null) unconditional.push(halves.unconditional);
        if (halves.variance !== null) variance.push(halves.variance);
      }
      return {
        conditional: join(conditional),
        unconditional: unconditional.length > 0 ? join(unconditional) : null,
        variance: variance.length > 0 ? join(variance) : null,
      };
    },
  };
}

function join(pieces: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(pieces.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of pieces) {
    all.set(p, at);
    at += p.length;
  }
  return all;
}

/** Floor at the main call whose timestep is nearest: other settings see other timesteps. */
export function floorAt(floor: NoiseFloor, timesteps: readonly number[], timestep: number): number {
  let best = Number.POSITIVE_INFINITY;
  let found = floor.mean;
  for (const [i, t] of timesteps.entries()) {
    const off = Math.abs(t - timestep);
    if (off < best) {
      best = off;
      found = floor.steps[i]!;
    }
  }
  return found;
}

/** The worst of several variants of the reference at every step. */
export function noiseFloor(
  variants: readonly { readonly name: string; readonly result: ProbeResult }[],
): NoiseFloor {
  const count = variants[0]?.result.steps.length ?? 0;
  const steps = Array.from({ length: count }, (_, i) => Math.min(...variants.map((v) => v.result.steps[i]!)));
  return {
    steps,
    mean: steps.reduce((sum, v) => sum + v, 0) / Math.max(1, count),
    variants: variants.map((v) => ({ name: v.name, mean: v.result.mean, worst: v.result.worst })),
  };
}
