import type { Command } from "commander";
import { table } from "../render/table.ts";

/** `diffpress passes`. */
export function passesCommand(program: Command): void {
  program
    .command("passes")
    .summary("list passes, or show one")
    .description("Lists the passes a recipe can name; with a name, its page with the options.")
    .argument("[name]", "a pass")
    .option("--json", "print as JSON", false)
    .action(async (name: string | undefined, flags: { json: boolean }) => {
      const { passPage, passes, resolvePass } = await import("../../src/index.ts");
      const chosen = name === undefined ? passes : [resolvePass(name)];
      if (flags.json) {
        const plain = chosen.map(({ run: _run, ...declaration }) => declaration);
        process.stdout.write(`${JSON.stringify(name === undefined ? plain : plain[0], null, 2)}\n`);
      } else if (name === undefined) {
        const rows = chosen.map((p) => [p.name, p.family, p.effect, p.summary]);
        process.stdout.write(`${table(["pass", "family", "effect", ""], rows)}\n`);
      } else {
        process.stdout.write(`${passPage(chosen[0]!)}\n`);
      }
    });
}
