import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fail } from "../diagnostics/index.ts";
import { type Arithmetic, createRuntime, modelFile } from "../runtime/index.ts";
import { target, targetNames } from "../targets/index.ts";
import {
  type VerifyOptions,
  type VerifyResult,
  type VerifySource,
  verify as verifySides,
} from "../verify/index.ts";
import { MANIFEST } from "./output.ts";
import { isTargetFolder, readBuildFile } from "./package/read.ts";
import { arithmeticOf } from "./runnable.ts";
import { type Twinned, withTwins } from "./twins.ts";

/** What {@link verify} found, and what ran in the place of models this machine has no kernels for. */
export type VerifyOutcome = VerifyResult & {
  /** Models that ran as twins in standard operators, once each: their figures are those of what the operators mean. */
  readonly twins: readonly Twinned[];
};

/** Fails with INPUT_NOT_FOUND when a side is a path at which no model can be. */
function checkSide(side: VerifySource): void {
  if (typeof side !== "string") return;
  if (!existsSync(side)) fail("INPUT_NOT_FOUND", { path: side, problem: "there is nothing with that name" });
  if (!statSync(side).isDirectory() || existsSync(join(side, "model_index.json"))) return;
  const folders = readdirSync(side, { withFileTypes: true }).filter((e) => e.isDirectory());
  if (existsSync(join(side, MANIFEST)) && folders.length > 0) {
    const names = folders.map((e) => e.name).sort();
    const problem = `the folder holds builds for ${names.join(", ")}; name one of them, as in ${join(side, names[0]!)}`;
    fail("INPUT_NOT_FOUND", { path: side, problem });
  }
  if (!folders.some((e) => existsSync(modelFile(join(side, e.name)))))
    fail("INPUT_NOT_FOUND", { path: side, problem: "no folder in it holds a model.onnx" });
}

/** How a candidate is computed: a build that says what it is for like that target, anything else as this processor does. */
async function arithmeticFor(candidate: VerifySource): Promise<Arithmetic> {
  if (typeof candidate !== "string" || !isTargetFolder(candidate)) return "fused";
  const { id } = (await readBuildFile(candidate)).target;
  return targetNames.includes(id) ? arithmeticOf(target(id)) : "fused";
}

/**
 * Judges a candidate (a build's target folder, a model file, an opened pipeline or a model in memory) against a
 * reference. A reference that is a pipeline is sampled and the candidate's denoiser judged along its trajectories:
 * teacher-forced SQNR per timestep, drift, PSNR and SSIM of samples, the conditioning test, the noise floor; anything
 * else is compared on seeded inputs. A model with operators the CPU has no kernel for runs as its plain twin, and a build
 * for another device in arithmetic as it is written, half precision rounded. Errors: INPUT_NOT_FOUND, BUILD_FILE_INVALID,
 * those of opening pipelines and sessions, INTERRUPTED.
 */
export async function verify(
  reference: VerifySource,
  candidate: VerifySource,
  options: VerifyOptions = {},
): Promise<VerifyOutcome> {
  checkSide(reference);
  checkSide(candidate);
  const twins = new Map<string, Twinned>();
  const own = options.runtime === undefined ? await createRuntime({ workers: 0 }) : null;
  const runtime = withTwins(own ?? options.runtime!, (t) => twins.set(t.model, t));
  try {
    const arithmetic = options.arithmetic ?? (await arithmeticFor(candidate));
    const result = await verifySides(reference, candidate, { ...options, runtime, arithmetic });
    return { ...result, twins: [...twins.values()] };
  } finally {
    await own?.close();
  }
}
