import type { Command } from "commander";
import { createProgress } from "../render/progress.ts";
import { renderVerification } from "../render/verification.ts";
import { parseShape, positiveNumber, wholeNumber } from "../values.ts";

interface Flags {
  readonly quick: boolean;
  readonly steps?: number;
  readonly guidance?: number;
  readonly sampler?: string;
  readonly seeds?: number;
  readonly seed: number;
  readonly shape?: Record<string, number>;
  readonly conditions?: string;
  readonly threads?: number;
  readonly json: boolean;
}

async function run(reference: string, candidate: string, flags: Flags): Promise<void> {
  const { verify } = await import("../../src/index.ts");
  const progress = createProgress({ quiet: false, now: () => performance.now() });
  try {
    const result = await verify(reference, candidate, {
      effort: flags.quick ? "quick" : "full",
      seed: flags.seed,
      ...(flags.steps !== undefined && { steps: flags.steps }),
      ...(flags.guidance !== undefined && { guidance: flags.guidance }),
      ...(flags.sampler !== undefined && { sampler: flags.sampler }),
      ...(flags.seeds !== undefined && { seeds: flags.seeds }),
      ...(flags.shape !== undefined && { bindings: flags.shape }),
      ...(flags.conditions !== undefined && { conditions: flags.conditions }),
      ...(flags.threads !== undefined && { threads: flags.threads }),
      onProgress: (done, total) => progress.onEvent({ kind: "runs", target: "", done, total }),
    });
    progress.stop();
    process.stdout.write(
      flags.json ? `${JSON.stringify(result, null, 2)}\n` : `${renderVerification(result)}\n`,
    );
  } finally {
    progress.stop();
  }
}

/** `diffpress verify`. */
export function verifyCommand(program: Command): void {
  program
    .command("verify")
    .summary("judge a build against the original")
    .description(
      "Samples the reference pipeline and judges the candidate along the way: teacher-forced SQNR per timestep, drift,\n" +
        "PSNR and SSIM of samples with bootstrap intervals, whether the condition still counts, the noise floor; at the\n" +
        "main setting and at another step count, guidance 1 and another sampler. Plain models are compared on inputs.",
    )
    .argument("<reference>", "pipeline folder, or a model.onnx")
    .argument("<candidate>", "a build's target folder (OUT/<target>), or a model.onnx")
    .option("--quick", "the main setting with few seeds only", false)
    .option("--steps <n>", "denoising steps (default: the pipeline's)", wholeNumber(1))
    .option("--guidance <scale>", "guidance scale (default: the pipeline's)", positiveNumber)
    .option("--sampler <name>", "sampler (default: the pipeline's)")
    .option("--seeds <n>", "seeds of the main setting", wholeNumber(1))
    .option("--seed <n>", "root of the judging seeds", wholeNumber(0), 0)
    .option("--shape <dims>", "lengths of open dims, as in height=64,width=64", parseShape)
    .option("--conditions <file>", "npz of conditions instead of the pipeline's own")
    .option("--threads <n>", "threads of each session", wholeNumber(1))
    .option("--json", "print as JSON", false)
    .action(run);
}
