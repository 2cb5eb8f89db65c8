import type { Command } from "commander";
import { EXIT } from "../errors.ts";
import { renderChecks } from "../render/check.ts";
import { parseList, parseShape } from "../values.ts";

interface Flags {
  readonly target: string[];
  readonly shape?: Record<string, number>;
  readonly nodes: boolean;
  readonly json: boolean;
}

/** `diffpress check-target`. */
export function checkTargetCommand(program: Command): void {
  program
    .command("check-target")
    .summary("tell what a target would do with a model")
    .description(
      "Compares any ONNX file with what a target's runtime takes: what it refuses, what runs slowly or with other\n" +
        "numbers than meant, which nodes leave the accelerator and why. Reads quantized weights and their scales only.\n" +
        "Exit code 4 when a target refuses the model.",
    )
    .argument("<model>", "an ONNX file, made by diffpress or not")
    .requiredOption("--target <names>", "targets, with variants as in tensorrt:11.x, or all", parseList)
    .option("--shape <dims>", "lengths of symbolic dims, as in batch_size=2,height=64", parseShape)
    .option("--nodes", "list every node with where it runs", false)
    .option("--json", "print as JSON", false)
    .action(async (model: string, flags: Flags) => {
      const { checkTarget } = await import("../../src/index.ts");
      const checks = await checkTarget(model, {
        targets: flags.target,
        ...(flags.shape !== undefined && { shape: flags.shape }),
      });
      process.stdout.write(
        flags.json ? `${JSON.stringify(checks, null, 2)}\n` : `${renderChecks(checks, flags.nodes)}\n`,
      );
      if (checks.some((c) => c.counts.reject > 0)) process.exitCode = EXIT.rejected;
    });
}
