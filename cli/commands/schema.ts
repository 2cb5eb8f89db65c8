import { Argument, type Command } from "commander";

/** `diffpress schema`. */
export function schemaCommand(program: Command): void {
  program
    .command("schema")
    .summary("print a JSON Schema")
    .description("Prints the JSON Schema of recipes, of report.json or of a target folder's build.json.")
    .addArgument(
      new Argument("[which]", "which one").choices(["recipe", "report", "build"]).default("recipe"),
    )
    .action(async (which: string) => {
      const { buildSchema, recipeSchema, reportSchema } = await import("../../src/index.ts");
      const schema = which === "report" ? reportSchema() : which === "build" ? buildSchema() : recipeSchema();
      process.stdout.write(`${JSON.stringify(schema, null, 2)}\n`);
    });
}
