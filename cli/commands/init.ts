import type { Command } from "commander";

/** `diffpress init`. */
export function initCommand(program: Command): void {
  program
    .command("init")
    .summary("write a recipe to start from")
    .description(
      "Writes a commented recipe; given a pipeline or model, with its dims and components filled in.",
    )
    .argument("[source]", "pipeline folder, or a model.onnx")
    .option("-o, --output <file>", "where it goes; - is stdout", "recipe.yaml")
    .option("--preset <name>", "what it extends", "exact")
    .option("--force", "replace an existing file", false)
    .action(async (source: string | undefined, flags: { output: string; preset: string; force: boolean }) => {
      const { writeStarterRecipe, starterRecipe } = await import("../../src/index.ts");
      const text = await starterRecipe({ source: source ?? null, preset: flags.preset });
      if (flags.output === "-") process.stdout.write(text);
      else {
        writeStarterRecipe(flags.output, text, flags.force);
        process.stderr.write(`wrote ${flags.output}\n`);
      }
    });
}
