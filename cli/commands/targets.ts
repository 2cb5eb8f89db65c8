import type { Command } from "commander";
import { table } from "../render/table.ts";

/** `diffpress targets`. */
export function targetsCommand(program: Command): void {
  program
    .command("targets")
    .summary("list targets, or show one")
    .description(
      "Lists the targets a build can be made for; with an id, everything known about it with sources.",
    )
    .argument("[id]", "a target")
    .option("--json", "print as JSON", false)
    .action(async (id: string | undefined, flags: { json: boolean }) => {
      const { resolveTargets, targets } = await import("../../src/index.ts");
      const chosen = id === undefined ? targets : resolveTargets([id]);
      if (flags.json) {
        process.stdout.write(`${JSON.stringify(id === undefined ? chosen : chosen[0], null, 2)}\n`);
        return;
      }
      if (id === undefined) {
        const rows = chosen.map((t) => [
          t.id,
          t.kind,
          t.provider.name,
          `${t.opset.min}–${t.opset.max}`,
          t.shapes.static ? "static" : "symbolic",
          t.title,
        ]);
        process.stdout.write(`${table(["target", "kind", "provider", "opsets", "shapes", ""], rows)}\n`);
        return;
      }
      const { targetPage } = await import("../../src/index.ts");
      process.stdout.write(`${targetPage(chosen[0]!)}\n`);
    });
}
