import { Argument, type Command } from "commander";

/** `diffpress schema`. */
export function schemaCommand(program: Command): void {
  program
    .command("schema")
    .summary("print a JSON Schema")
    .description("Prints the JSON Schema of recipes or of report.json.")
    .addArgument(new Argument("[which]", "which one").choices(["recipe", "report"]).default("recipe"))
    .action(async (which: string) => {
      const { recipeSchema, reportSchema } = await import("../../src/index.ts");
      const schema = which === "report" ? reportSchema() : recipeSchema();
      process.stdout.write(`${JSON.stringify(schema, null, 2)}\n`);
    });
}
