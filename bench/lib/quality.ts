import { rmSync } from "node:fs";
import { join } from "node:path";
import type { StageEntry } from "../../src/compile/recipe/types.ts";
import { compile, type Recipe, type Report, readModel, type VerifySource, verify } from "../../src/index.ts";

/** Seeds that judge; they never calibrate. */
const SEEDS = 16;

/** What a build of one denoiser is and how well it follows the original. */
export interface Judged {
  readonly report: Report;
  readonly model: string;
  /** Bytes of the component's files. */
  readonly bytes: number;
  readonly seconds: number;
  readonly mean: number;
  readonly worst: number;
  readonly psnr: number;
}

/** Figures of a candidate along the pipeline's own trajectories: DDIM, 20 steps, guidance 2.5 for the bundled ones. */
export async function figures(
  source: string,
  candidate: VerifySource,
  seeds = SEEDS,
): Promise<Pick<Judged, "mean" | "worst" | "psnr">> {
  const found = await verify(source, candidate, { seeds, settings: [], batch: 8 });
  if (found.kind !== "trajectory") throw new Error("the pipeline was not sampled");
  const main = found.settings[0]!;
  return { mean: main.sqnr.mean, worst: main.sqnr.worst.sqnr, psnr: main.psnr.median };
}

/** A denoiser built by the library with some passes after `clean`, and judged. */
export async function buildAndJudge(o: {
  readonly source: string;
  readonly component: string;
  readonly out: string;
  readonly passes: readonly StageEntry[];
  /** Trajectories that calibrate; the recipe's default unless said. */
  readonly samples?: number;
  readonly seeds?: number;
}): Promise<Judged> {
  rmSync(o.out, { recursive: true, force: true });
  const recipe: Recipe = {
    extends: "exact",
    passes: ["clean", ...o.passes],
    targets: { "cpu-x64": {} },
    ...(o.samples !== undefined && { calibration: { samples: o.samples } }),
  };
  const start = performance.now();
  const { report } = await compile(o.source, { recipe, out: o.out, verify: false });
  const seconds = (performance.now() - start) / 1000;
  const target = report.targets["cpu-x64"]!;
  const built = target.components.find((c) => c.name === o.component)!;
  const model = join(o.out, "cpu-x64", o.component, "model.onnx");
  return { report, model, bytes: built.bytes.after, seconds, ...(await figures(o.source, model, o.seeds)) };
}

/** Decisions of one pass on the denoiser. */
export function decisionsOf(report: Report, component: string, pass: string) {
  const all = report.targets["cpu-x64"]!.passes;
  return all.filter((p) => p.component === component && p.name === pass).flatMap((p) => p.decisions);
}

/** The model of an exact build. */
export async function exactModel(source: string, component: string, out: string) {
  await compile(source, { recipe: { extends: "exact" }, targets: ["cpu-x64"], out, verify: false });
  return await readModel(join(out, "cpu-x64", component, "model.onnx"));
}
