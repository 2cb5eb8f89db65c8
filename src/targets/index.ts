import { nearestName } from "../calibrate/nearest.ts";
import { fail } from "../diagnostics/index.ts";
import { cpuX64 } from "./cpu-x64.ts";
import { qnnHtp } from "./qnn-htp.ts";
import type { Target } from "./target.ts";
import { webgpu } from "./webgpu.ts";

/** Every target, one line each, in the order they are listed. */
export const targets: readonly Target[] = [cpuX64, webgpu, qnnHtp];

const BY_ID = new Map(targets.map((t) => [t.id, t]));

/** Name that stands for every target on the command line. */
const ALL_TARGETS = "all";

/** The target called `id`; fails with TARGET_UNKNOWN. */
export function target(id: string): Target {
  const found = BY_ID.get(id);
  if (found !== undefined) return found;
  const known = [...BY_ID.keys()];
  return fail("TARGET_UNKNOWN", { target: id, nearest: nearestName(id, [...known, ALL_TARGETS]), known });
}

/** Targets for a list of ids, each once, in the order of the list; `all` is every target. Fails with TARGET_UNKNOWN. */
export function resolveTargets(ids: readonly string[]): readonly Target[] {
  const out = new Set<Target>();
  for (const id of ids) for (const t of id === ALL_TARGETS ? targets : [target(id)]) out.add(t);
  return [...out];
}
