import { Command } from "commander";
import { VERSION } from "../src/index.ts";
import { calibrateCommand } from "./commands/calibrate.ts";
import { checkTargetCommand } from "./commands/check-target.ts";
import { compileCommand } from "./commands/compile.ts";
import { initCommand } from "./commands/init.ts";
import { inspectCommand } from "./commands/inspect.ts";
import { passesCommand } from "./commands/passes.ts";
import { schemaCommand } from "./commands/schema.ts";
import { selfTestCommand } from "./commands/self-test.ts";
import { targetsCommand } from "./commands/targets.ts";
import { verifyCommand } from "./commands/verify.ts";
import { EXIT, reportFailure } from "./errors.ts";

const FOOTER = `
Exit codes: 0 ok, 1 diagnostics, 2 usage, 3 a budget not met, 4 a target refuses the model, 70 bug.
stdout is data (--json), stderr is for people.`;

/** The command line, without running it: tests and the docs page read its help. */
export function buildProgram(): Command {
  const program = new Command("diffpress")
    .description("Compression and export compiler for diffusion models: ONNX in, verified builds out.")
    .version(VERSION)
    .configureHelp({ helpWidth: 110, sortSubcommands: false })
    .addHelpText("after", FOOTER)
    .exitOverride();
  for (const register of [
    compileCommand,
    inspectCommand,
    calibrateCommand,
    verifyCommand,
    selfTestCommand,
    checkTargetCommand,
    targetsCommand,
    passesCommand,
    schemaCommand,
    initCommand,
  ])
    register(program);
  for (const c of program.commands) c.exitOverride().configureHelp({ helpWidth: 110 });
  return program;
}

/** Runs the command line and sets the exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    await buildProgram().parseAsync(argv, { from: "user" });
  } catch (error) {
    const code = reportFailure(error, argv.includes("--json"));
    // What an interrupt cut short may still be running.
    if (code === EXIT.interrupted) process.exit(code);
    process.exitCode = code;
  }
}
