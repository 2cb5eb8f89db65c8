import { type Command, Option } from "commander";
import type { CompileResult, Report } from "../../src/index.ts";
import { EXIT } from "../errors.ts";
import { renderPreview } from "../render/preview.ts";
import { createProgress } from "../render/progress.ts";
import { renderSummary } from "../render/summary.ts";
import { parseList, parseShape, parseSize, wholeNumber } from "../values.ts";

interface Flags {
  readonly recipe?: string;
  readonly preset?: string;
  readonly target?: string[];
  readonly shape?: Record<string, number>;
  readonly maxMemory?: number;
  readonly verify?: boolean;
  readonly workers?: number;
  readonly output?: string;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly dryRun: boolean;
  readonly stopAfter?: number;
}

function debugLevel(): number {
  const level = Number(process.env["DIFFPRESS_DEBUG"] ?? "0");
  return Number.isInteger(level) && level >= 0 && level <= 3 ? level : 0;
}

function summarise(report: Report, result: CompileResult, json: boolean): void {
  if (json) process.stdout.write(`${JSON.stringify({ out: result.out, report }, null, 2)}\n`);
  process.stderr.write(`${renderSummary(report, result.out)}\n`);
}

async function run(source: string, flags: Flags, command: Command): Promise<void> {
  const { compile, previewBuild } = await import("../../src/index.ts");
  const common = {
    ...(flags.recipe !== undefined && { recipe: flags.recipe }),
    ...(flags.preset !== undefined && { preset: flags.preset }),
    ...(flags.target !== undefined && { targets: flags.target }),
    ...(flags.shape !== undefined && { shape: flags.shape }),
    ...(flags.verify !== undefined && { verify: flags.verify }),
  };
  if (flags.dryRun) {
    const preview = await previewBuild(source, common);
    process.stdout.write(
      flags.json ? `${JSON.stringify(preview, null, 2)}\n` : `${renderPreview(preview)}\n`,
    );
    return;
  }
  const { output } = flags;
  if (output === undefined) {
    const code = "commander.missingMandatoryOptionValue";
    return command.error("error: required option '-o, --output <folder>' not specified", { code });
  }
  const now = (): number => performance.now();
  const progress = createProgress({ quiet: flags.quiet, now });
  const abort = new AbortController();
  const interrupt = (): void => abort.abort();
  process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
  const debug = debugLevel();
  try {
    const result = await compile(source, {
      ...common,
      out: output,
      ...(flags.maxMemory !== undefined && { maxMemory: flags.maxMemory }),
      ...(flags.workers !== undefined && { workers: flags.workers }),
      ...(flags.stopAfter !== undefined && { stopAfter: flags.stopAfter }),
      ...(debug > 0 && { debug, dumpFolder: `${output}.debug` }),
      now,
      memory: () => process.resourceUsage().maxRSS * 1024,
      signal: abort.signal,
      onEvent: progress.onEvent,
    });
    progress.stop();
    summarise(result.report, result, flags.json);
    if (result.report.budgets.some((b) => !b.met)) process.exitCode = EXIT.budget;
  } finally {
    progress.stop();
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
  }
}

/** `diffpress compile`. */
export function compileCommand(program: Command): void {
  program
    .command("compile")
    .summary("build a pipeline or model for targets")
    .description(
      "Builds a diffusers-layout pipeline folder, or one model.onnx, for each target and writes OUT/<target>/… with\n" +
        "report.json, manifest.json and recipe.lock.yaml. OUT is replaced only when the new build is complete.",
    )
    .argument("<source>", "pipeline folder, or a model.onnx")
    .option("-o, --output <folder>", "where the build goes; only a dry run does without")
    .option("--recipe <file>", "recipe, YAML or JSON (diffpress schema recipe)")
    .option(
      "--preset <name>",
      "exact, fp16, w8, balanced, w4, small or tiny; replaces what the recipe extends (default: exact)",
    )
    .option(
      "--target <ids>",
      "comma-separated targets, or all (default: the recipe's, else cpu-x64)",
      parseList,
    )
    .option("--shape <dims>", "fix dims, as in batch_size=2,height=16 or sample.0=2", parseShape)
    .option("--max-memory <size>", "bound on memory for weights, as in 1.5GB", parseSize)
    .option("--workers <n>", "threads that derive weights", wholeNumber(1))
    .option("--verify", "prove and sample builds of large models too (default: of models up to 1 GiB)")
    .option("--no-verify", "neither prove exact passes nor sample the builds against the original")
    .option(
      "--dry-run",
      "print what would be done and what each pass would choose from, and stop; weights may be absent",
      false,
    )
    .option("--json", "print the report on stdout", false)
    .option("-q, --quiet", "no progress", false)
    .addOption(
      new Option("--stop-after <n>", "stop after n passes, to bisect a bad one").argParser(wholeNumber(0)),
    )
    .action(run);
}
