import { type Command, InvalidArgumentError } from "commander";
import { bytes } from "../render/format.ts";
import { renderStatistics } from "../render/statistics.ts";
import { parseList, parseShape, positiveNumber, wholeNumber } from "../values.ts";

interface Flags {
  readonly out: string;
  readonly steps?: number;
  readonly guidance?: number;
  readonly sampler?: string;
  readonly samples?: number;
  readonly seed: number;
  readonly timesteps?: "uniform" | "normal" | "measured" | readonly number[];
  readonly weights?: "uniform" | "measured";
  readonly jitter?: number;
  readonly rows?: number;
  readonly gram: boolean;
  readonly shape?: Record<string, number>;
  readonly threads?: number;
  readonly json: boolean;
}

function timesteps(text: string): Flags["timesteps"] {
  if (text === "uniform" || text === "normal" || text === "measured") return text;
  const list = parseList(text).map(Number);
  if (list.some((t) => !Number.isFinite(t) || t < 0))
    throw new InvalidArgumentError("expected uniform, normal, measured or a list of timesteps.");
  return list;
}

function weights(text: string): "uniform" | "measured" {
  if (text === "uniform" || text === "measured") return text;
  throw new InvalidArgumentError("expected uniform or measured.");
}

function share(text: string): number {
  const value = positiveNumber(text);
  if (value > 1) throw new InvalidArgumentError("expected a number from 0 to 1.");
  return value;
}

async function run(source: string, { out, json, ...options }: Flags): Promise<void> {
  const { calibrate } = await import("../../src/index.ts");
  const result = await calibrate(source, out, options);
  process.stderr.write(`wrote ${out}, ${bytes(result.bytes)}\n`);
  process.stdout.write(
    json ? `${JSON.stringify(result, null, 2)}\n` : `${renderStatistics(result.summary)}\n`,
  );
}

/** `diffpress calibrate`. */
export function calibrateCommand(program: Command): void {
  program
    .command("calibrate")
    .summary("collect statistics of activations along sampled trajectories")
    .description(
      "Samples the pipeline from calibration seeds and collects, per layer and timestep, ranges, means, second moments\n" +
        "and a few positions of every layer's input and output; with --gram also the Gram matrix of every input. The\n" +
        "file serves `calibration.artifact` of a recipe with the same settings.",
    )
    .argument("<source>", "pipeline folder")
    .requiredOption("-o, --out <file>", "file to write, as in stats.npz")
    .option("--gram", "also Gram matrices of layer inputs", false)
    .option("--steps <n>", "denoising steps (default: the pipeline's)", wholeNumber(1))
    .option("--guidance <scale>", "guidance scale (default: the pipeline's)", positiveNumber)
    .option("--sampler <name>", "sampler (default: the pipeline's)")
    .option("--samples <n>", "trajectories (default: 4)", wholeNumber(1))
    .option("--seed <n>", "root of the calibration seeds", wholeNumber(0), 0)
    .option("--timesteps <choice>", "uniform, normal, measured, or a list of timesteps", timesteps)
    .option("--weights <choice>", "uniform, or measured: by the share in the final error", weights)
    .option("--jitter <share>", "move timesteps by up to this share of their distance", share)
    .option("--rows <n>", "positions kept per call of every value (default: 64)", wholeNumber(0))
    .option("--shape <dims>", "lengths of open dims, as in height=64,width=64", parseShape)
    .option("--threads <n>", "threads of each session", wholeNumber(1))
    .option("--json", "print the summary as JSON", false)
    .action(run);
}
