import type { Command } from "commander";
import { renderInspection } from "../render/inspection.ts";
import { renderStatistics } from "../render/statistics.ts";
import { parseShape } from "../values.ts";

interface Flags {
  readonly stats?: string;
  readonly shape?: Record<string, number>;
  readonly json: boolean;
}

/** `diffpress inspect`. */
export function inspectCommand(program: Command): void {
  program
    .command("inspect")
    .summary("show what a pipeline or model is made of")
    .description(
      "Shows parameters and bytes by dtype and by part of the network, operators, FLOPs per step, inputs with their\n" +
        "roles, symbolic dims, the largest tensors, and what each preset would do. Reads no weights.",
    )
    .argument("[source]", "pipeline folder, or a model.onnx")
    .option("--stats <file>", "a file of diffpress calibrate instead: ranges over timesteps, outliers, ranks")
    .option("--shape <dims>", "lengths to count FLOPs at, as in batch_size=2,height=64", parseShape)
    .option("--json", "print as JSON", false)
    .action(async (source: string | undefined, flags: Flags, command: Command) => {
      const { inspect, inspectStatistics } = await import("../../src/index.ts");
      if ((source === undefined) === (flags.stats === undefined))
        command.error("error: give either a source or --stats");
      if (flags.stats !== undefined) {
        const summary = await inspectStatistics(flags.stats);
        process.stdout.write(
          flags.json ? `${JSON.stringify(summary, null, 2)}\n` : `${renderStatistics(summary)}\n`,
        );
        return;
      }
      if (source === undefined) return;
      const inspection = await inspect(source, flags.shape === undefined ? {} : { shape: flags.shape });
      process.stdout.write(
        flags.json ? `${JSON.stringify(inspection, null, 2)}\n` : `${renderInspection(inspection)}\n`,
      );
    });
}
