import { type Command, Option } from "commander";
import { EXIT } from "../errors.ts";
import { renderSelfTest } from "../render/self-test.ts";
import { wholeNumber } from "../values.ts";

interface Flags {
  readonly provider: "cpu" | "webgpu";
  readonly threads?: number;
  readonly json: boolean;
}

/** `diffpress self-test`. */
export function selfTestCommand(program: Command): void {
  program
    .command("self-test")
    .summary("see whether a build works on this machine")
    .description(
      "Compares the files of OUT/<target> with what was written, runs each model on the input stored beside it, and\n" +
        "compares its outputs with the stored ones. Exit code 1 when something differs.",
    )
    .argument("<folder>", "a build's target folder (OUT/<target>)")
    .addOption(
      new Option("--provider <name>", "execution provider").choices(["cpu", "webgpu"]).default("cpu"),
    )
    .option("--threads <n>", "threads of each session", wholeNumber(1))
    .option("--json", "print as JSON", false)
    .action(async (folder: string, flags: Flags) => {
      const { selfTest } = await import("../../src/index.ts");
      const { provider, threads } = flags;
      const result = await selfTest(folder, { provider, ...(threads !== undefined && { threads }) });
      process.stdout.write(
        flags.json ? `${JSON.stringify(result, null, 2)}\n` : `${renderSelfTest(result)}\n`,
      );
      if (!result.passed) process.exitCode = EXIT.diagnostics;
    });
}
