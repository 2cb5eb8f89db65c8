import type { Model } from "../ir/graph.ts";
import type { RangeStatistics } from "../passes/pass.ts";
import type { Fidelity, Latency } from "../report/types.ts";
import type { Target } from "../targets/target.ts";
import type { SourceComponent } from "./source.ts";
import type { BuildContext, Built } from "./targets.ts";
import type { CompileOptions } from "./types.ts";

/** What running a build beside the original showed. */
export interface Verdict {
  readonly latency: Latency | null;
  readonly fidelity: Fidelity | null;
  readonly notes: readonly string[];
}

/** Runs a denoiser build beside the original. */
export async function judge(
  _ctx: BuildContext,
  _target: Target,
  _built: Built,
  _options: CompileOptions,
): Promise<Verdict> {
  return { latency: null, fidelity: null, notes: [] };
}

/** Ranges of activations over the calibration trajectory. */
export async function trajectoryRanges(
  _ctx: BuildContext,
  _component: SourceComponent,
  _model: Model,
): Promise<RangeStatistics | null> {
  return null;
}
