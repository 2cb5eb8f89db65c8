import type { Command } from "commander";
import { renderInspection } from "../render/inspection.ts";
import { parseShape } from "../values.ts";

/** `diffpress inspect`. */
export function inspectCommand(program: Command): void {
  program
    .command("inspect")
    .summary("show what a pipeline or model is made of")
    .description(
      "Shows parameters and bytes by dtype and by part of the network, operators, FLOPs per step, inputs with their\n" +
        "roles, symbolic dims, the largest tensors, and what each preset would do. Reads no weights.",
    )
    .argument("<source>", "pipeline folder, or a model.onnx")
    .option("--shape <dims>", "lengths to count FLOPs at, as in batch_size=2,height=64", parseShape)
    .option("--json", "print as JSON", false)
    .action(async (source: string, flags: { shape?: Record<string, number>; json: boolean }) => {
      const { inspect } = await import("../../src/index.ts");
      const inspection = await inspect(source, flags.shape === undefined ? {} : { shape: flags.shape });
      process.stdout.write(
        flags.json ? `${JSON.stringify(inspection, null, 2)}\n` : `${renderInspection(inspection)}\n`,
      );
    });
}
