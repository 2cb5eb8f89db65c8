import type { SamplerId } from "../calibrate/schedulers/index.ts";
import type { SettingName } from "./types.ts";

/** One way of sampling. */
export interface Setting {
  readonly name: SettingName;
  readonly sampler: SamplerId;
  readonly steps: number;
  readonly guidance: number;
  /** How many of the judging seeds it uses. */
  readonly seeds: number;
}

/** How many seeds and which settings stand behind a name. */
const EFFORT = {
  quick: { seeds: 4, others: [] as readonly SettingName[] },
  full: { seeds: 16, others: ["steps", "guidance-1", "sampler"] as readonly SettingName[] },
} as const;

/** `quick`: the main setting on four seeds. `full`: sixteen seeds, and half of them at every other setting. */
export type Effort = keyof typeof EFFORT;

/** What the caller may fix; the rest comes from the pipeline. */
export interface SettingOptions {
  readonly sampler: SamplerId;
  readonly steps: number;
  readonly guidance: number;
  readonly effort: Effort;
  readonly seeds?: number;
  readonly settings?: readonly SettingName[];
  /** Whether the pipeline can be guided at all. */
  readonly guidable: boolean;
}

/** Fewest steps of the other step count: below it, solvers differ more than builds do. */
const FEWEST_STEPS = 4;

/** Half the steps, or twice where half would be too few. */
function otherSteps(steps: number): number {
  const half = Math.round(steps / 2);
  return half >= FEWEST_STEPS ? half : steps * 2;
}

/** A sampler of another kind on the same training schedule; `null` where only one is defined (flow matching). */
function otherSampler(sampler: SamplerId): SamplerId | null {
  if (sampler === "flow-euler") return null;
  return sampler === "dpm-solver++" || sampler === "unipc" ? "ddim" : "dpm-solver++";
}

/** Lays out the settings to sample with, the main one first, and says which of those asked for do not apply. */
export function planSettings(o: SettingOptions): {
  settings: Setting[];
  omitted: { setting: SettingName; why: string }[];
} {
  const effort = EFFORT[o.effort];
  const seeds = o.seeds ?? effort.seeds;
  const main: Setting = { name: "main", sampler: o.sampler, steps: o.steps, guidance: o.guidance, seeds };
  const settings = [main];
  const omitted: { setting: SettingName; why: string }[] = [];
  const fewer = Math.max(1, Math.ceil(seeds / 2));
  for (const name of o.settings ?? effort.others) {
    if (name === "steps") settings.push({ ...main, name, steps: otherSteps(o.steps), seeds: fewer });
    else if (name === "guidance-1") {
      if (o.guidable && o.guidance !== 1) settings.push({ ...main, name, guidance: 1, seeds: fewer });
      else
        omitted.push({
          setting: name,
          why: o.guidable ? "the main setting has guidance 1" : "the pipeline is not guided",
        });
    } else if (name === "sampler") {
      const sampler = otherSampler(o.sampler);
      if (sampler !== null) settings.push({ ...main, name, sampler, seeds: fewer });
      else omitted.push({ setting: name, why: `no other sampler is defined for ${o.sampler}` });
    }
  }
  return { settings, omitted };
}
