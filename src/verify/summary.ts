import { quantile } from "../numeric/stats.ts";
import { floorAt, type ProbeResult } from "./floor.ts";
import { seedInterval, summarise } from "./metrics/interval.ts";
import type { Setting } from "./settings.ts";
import type { TrajectoryRecord } from "./trajectory.ts";
import {
  type Agreement,
  type ConditioningResult,
  type ConditioningStep,
  LOSSLESS_DB,
  type NoiseFloor,
  type SettingResult,
  type StepFidelity,
} from "./types.ts";

/** A candidate whose condition pushes less than half or more than twice as hard no longer follows it. */
const RATIO_LIMITS = [0.5, 2] as const;
/** Below this cosine the condition pushes somewhere else. */
const COSINE_LIMIT = 0.5;

function worstOf<T extends { readonly timestep: number; readonly sqnr: number }>(
  steps: readonly T[],
): { timestep: number; sqnr: number } {
  let worst = steps[0]!;
  for (const s of steps) if (s.sqnr < worst.sqnr) worst = s;
  return { timestep: worst.timestep, sqnr: worst.sqnr };
}

function conditioning(record: TrajectoryRecord): ConditioningResult | null {
  const table = record.conditioning;
  if (table === null) return null;
  const steps: ConditioningStep[] = record.timesteps.map((timestep, i) => ({ timestep, ...table.at(i) }));
  const ratios = steps.map((s) => s.ratio);
  const cosine = Math.min(...steps.map((s) => s.cosine));
  return {
    steps,
    ratio: quantile(ratios, 0.5),
    cosine,
    mean: steps.reduce((sum, s) => sum + s.sqnr, 0) / steps.length,
    worst: worstOf(steps),
    follows: ratios.every((r) => r >= RATIO_LIMITS[0] && r <= RATIO_LIMITS[1]) && cosine >= COSINE_LIMIT,
  };
}

/** Turns the sums of one setting into what the report shows. `mainTimesteps` are those of the noise floor. */
export function settingResult(
  setting: Setting,
  record: TrajectoryRecord,
  floor: NoiseFloor,
  mainTimesteps: readonly number[],
): SettingResult {
  const { teacher, drift } = record;
  const curve = teacher.curve();
  const steps: StepFidelity[] = record.timesteps.map((timestep, i) => ({
    timestep,
    sqnr: curve[i]!,
    lossless: curve[i]! >= floorAt(floor, mainTimesteps, timestep) - LOSSLESS_DB,
  }));
  const mean = teacher.mean();
  return {
    name: setting.name,
    sampler: setting.sampler,
    steps: setting.steps,
    guidance: setting.guidance,
    seeds: teacher.seeds,
    sqnr: {
      steps,
      mean,
      interval: seedInterval(teacher.seeds, (s) => teacher.mean(s), `${setting.name} sqnr`),
      worst: worstOf(steps),
      lossless: mean >= floor.mean - LOSSLESS_DB && steps.every((s) => s.lossless),
    },
    drift: drift.curve().map((sqnr, i) => ({ timestep: record.timesteps[i]!, sqnr })),
    psnr: summarise(record.psnr, `${setting.name} psnr`),
    ssim: summarise(record.ssim, `${setting.name} ssim`),
    conditioning: conditioning(record),
  };
}

/**
 * Whether a build means the same with and without the runtime's graph optimisation. It does when the two sessions are
 * at least as close to each other as the build is to the reference, or within the noise floor.
 */
export function agreementOf(plain: ProbeResult, main: SettingResult, floor: NoiseFloor): Agreement {
  const { mean, worst, maxAbs } = plain;
  const near = Math.min(main.sqnr.mean, floor.mean - LOSSLESS_DB);
  return { mean, worst, maxAbs, agrees: mean >= near };
}
