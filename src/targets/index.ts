import { nearestName } from "../calibrate/nearest.ts";
import { fail } from "../diagnostics/index.ts";
import { coreml } from "./coreml.ts";
import { cpuArm64 } from "./cpu-arm64.ts";
import { cpuX64 } from "./cpu-x64.ts";
import { cuda } from "./cuda.ts";
import { directml } from "./directml.ts";
import { migraphx } from "./migraphx.ts";
import { openvino } from "./openvino.ts";
import { qnnHtp } from "./qnn-htp.ts";
import type { Target } from "./target.ts";
import { tensorrt } from "./tensorrt.ts";
import { tensorrtRtx } from "./tensorrt-rtx.ts";
import { overridden } from "./variant.ts";
import { vitisai } from "./vitisai.ts";
import { webgpu } from "./webgpu.ts";

/** Every target in its default variant, one line each, in the order they are listed. */
export const targets: readonly Target[] = [
  cpuX64,
  cpuArm64,
  cuda,
  tensorrt,
  tensorrtRtx,
  directml,
  webgpu,
  migraphx,
  qnnHtp,
  openvino,
  vitisai,
  coreml,
];

/** Every target by the names it can be chosen with: `id`, and `id:variant` for each variant. */
const BY_NAME: ReadonlyMap<string, Target> = new Map(
  targets.flatMap((t): [string, Target][] => [
    [t.id, t],
    ...Object.keys(t.variants?.of ?? {}).map((v): [string, Target] => [`${t.id}:${v}`, overridden(t, v)]),
  ]),
);

/** Names a target can be chosen with. */
export const targetNames: readonly string[] = [...BY_NAME.keys()];

/** Name that stands for every target on the command line. */
const ALL_TARGETS = "all";

/**
 * The target called `name`, which is an id or `id:variant`; the default variant is the target itself. Fails with
 * TARGET_UNKNOWN.
 */
export function target(name: string): Target {
  const found = BY_NAME.get(name);
  if (found !== undefined) return found;
  return fail("TARGET_UNKNOWN", {
    target: name,
    nearest: nearestName(name, [...targetNames, ALL_TARGETS]),
    known: targetNames,
  });
}

/** Targets for a list of names, each once, in the order of the list; `all` is every target. Fails with TARGET_UNKNOWN. */
export function resolveTargets(names: readonly string[]): readonly Target[] {
  const out = new Set<Target>();
  for (const name of names) for (const t of name === ALL_TARGETS ? targets : [target(name)]) out.add(t);
  return [...out];
}
