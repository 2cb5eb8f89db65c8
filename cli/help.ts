import type { Command } from "commander";
import { buildProgram } from "./program.ts";

function helpOf(command: Command): string {
  let text = "";
  command.configureOutput({
    writeOut: (s) => {
      text += s;
    },
    getOutHelpWidth: () => 110,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return text.trimEnd();
}

/** Help of the program and of every command, as one Markdown page. */
export function helpPage(): string {
  const program = buildProgram();
  const parts = ["# Command line", "", "```text", helpOf(program), "```"];
  for (const c of program.commands) parts.push("", `## ${c.name()}`, "", "```text", helpOf(c), "```");
  return `${parts.join("\n")}\n`;
}
