import { CommanderError } from "commander";
import type { DiffpressError } from "../src/index.ts";
import { paint } from "./render/format.ts";

/** Exit codes of the binary. */
export const EXIT = {
  ok: 0,
  diagnostics: 1,
  usage: 2,
  budget: 3,
  rejected: 4,
  bug: 70,
  interrupted: 130,
} as const;

/** By name, so that the library is not loaded for `--help`. */
function isCoded(error: unknown): error is DiffpressError {
  return error instanceof Error && error.name === "DiffpressError";
}

function causes(error: unknown): string[] {
  const out: string[] = [];
  let at: unknown = error instanceof Error ? error.cause : undefined;
  for (let depth = 0; at !== undefined && depth < 8; depth++) {
    out.push(at instanceof Error ? at.message : String(at));
    at = at instanceof Error ? at.cause : undefined;
  }
  return out;
}

/** Prints what went wrong, once, and gives the exit code for it. With `json` the diagnostic goes to stdout. */
export function reportFailure(error: unknown, json: boolean): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (isCoded(error)) {
    const d = error.diagnostic;
    if (json) process.stdout.write(`${JSON.stringify({ diagnostics: [d] }, null, 2)}\n`);
    else process.stderr.write(`${paint("red", "error")} ${paint("bold", d.code)}: ${d.message}\n`);
    return d.code === "INTERRUPTED" ? EXIT.interrupted : EXIT.diagnostics;
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  if (json) {
    const bug = { code: "BUG", severity: "error", message, details: { causes: causes(error) } };
    process.stdout.write(`${JSON.stringify({ diagnostics: [bug] }, null, 2)}\n`);
  } else {
    process.stderr.write(`${paint("red", "bug")}: ${message}\n`);
    for (const c of causes(error)) process.stderr.write(`  caused by: ${c}\n`);
    process.stderr.write(
      "This should not happen; please report it with the command and the model's architecture.\n",
    );
  }
  return EXIT.bug;
}
