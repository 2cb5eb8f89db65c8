import { build } from "../lib/build.ts";
import type { BenchCase, BenchContext, CaseResult } from "../lib/case.ts";
import { runScript } from "../lib/child.ts";
import { latents } from "./shapes.ts";

const LIMIT_GB = 1.5;

/** Builds every weight format of a skeleton and measures the compiler; `tryRun` also loads the results. */
export async function weightBuilds(
  { scratch, say }: BenchContext,
  skeleton: string,
  presets: readonly string[],
  tryRun: boolean,
): Promise<CaseResult> {
  const source = await scratch.skeleton(skeleton);
  const rows: (string | number)[][] = [];
  const checks: CaseResult["checks"][number][] = [];
  const commands: string[] = [];
  for (const preset of presets) {
    say(`compiling ${preset}`);
    const made = await build({ source, out: scratch.fresh(`${skeleton}-${preset}`), preset });
    let runs = "not tried";
    if (tryRun) {
      const input = { model: made.model, threads: 2, dims: latents(16) };
      const { value } = await runScript<{ finite: boolean }>("run-once.ts", input);
      runs = value.finite ? "finite" : "not finite";
      checks.push({
        name: `${preset} runs`,
        value: value.finite ? 1 : 0,
        relation: ">=",
        limit: 1,
        unit: "",
      });
    }
    const peak = made.measured.peakBytes;
    rows.push([preset, made.bytes / 1e9, made.measured.seconds, peak / 2 ** 20, runs]);
    commands.push(made.command);
    checks.push({
      name: `${preset} peak RSS`,
      value: peak / 1e9,
      relation: "<=",
      limit: LIMIT_GB,
      unit: "GB",
    });
    scratch.drop(made.out);
  }
  return {
    columns: ["preset", "output GB", "compile s", "peak RSS MiB", "run at 16×16"],
    rows,
    checks,
    commands,
  };
}

/** Weight-only builds of the SD 1.5 UNet. */
export const skeletonWeights: BenchCase = {
  name: "skeleton-weights",
  title: "weight formats of the 3.44 GB SD 1.5 UNet",
  needs: ["skeletons/sd15-unet.onnx"],
  disk: 8e9,
  memory: 8e9,
  run: (context) => weightBuilds(context, "sd15-unet", ["w8", "w4"], true),
};
