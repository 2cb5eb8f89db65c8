import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** The bundled trained pipeline. */
export const PIPELINE = join(ROOT, "fixtures/cifar-unet");

/** The command line compiled as a release is: starting it takes a fraction of what running the sources does. */
const BUILD = join(ROOT, "node_modules/.cache", `diffpress-cli-${process.pid}`);
mkdirSync(BUILD, { recursive: true });
writeFileSync(join(BUILD, "package.json"), '{ "type": "module" }');
execFileSync(process.execPath, [
  join(ROOT, "node_modules/typescript/bin/tsc"),
  ...["-p", join(ROOT, "tsconfig.build.json"), "--outDir", BUILD, "--noCheck", "--declaration", "false"],
]);
afterAll(() => rmSync(BUILD, { recursive: true, force: true }));

/** What a run of the command line gave. */
export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts the command line. `limit` bounds file sizes, in KiB. */
export function start(
  args: readonly string[],
  limit?: number,
): { child: ChildProcess; done: Promise<Outcome> } {
  const command = [process.execPath, join(BUILD, "cli/main.js"), ...args];
  const [file, ...rest] =
    limit === undefined ? command : ["bash", "-c", `ulimit -f ${limit} && exec "$@"`, "bash", ...command];
  const child = spawn(file!, rest, { cwd: ROOT, env: { ...process.env, NO_COLOR: "1" } });
  let stdout = "";
  let stderr = "";
  child.stdout!.on("data", (d: Buffer) => {
    stdout += d.toString();
  });
  child.stderr!.on("data", (d: Buffer) => {
    stderr += d.toString();
  });
  const done = new Promise<Outcome>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
  return { child, done };
}

/** Runs the command line to its end. */
export function diffpress(...args: readonly string[]): Promise<Outcome> {
  return start(args).done;
}

/** The only diagnostic a failed `--json` run printed. */
export function diagnosticOf(outcome: Outcome): {
  code: string;
  message: string;
  details: Record<string, unknown>;
} {
  const { diagnostics } = JSON.parse(outcome.stdout) as {
    diagnostics: { code: string; message: string; details: Record<string, unknown> }[];
  };
  if (diagnostics.length !== 1) throw new Error(`${diagnostics.length} diagnostics, expected one`);
  return diagnostics[0]!;
}

/** A folder of the test file's own, removed afterwards. */
export function scratch(): string {
  const dir = mkdtempSync(join(tmpdir(), "diffpress-cli-"));
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** A copy of the bundled pipeline to break. */
export function copyOfPipeline(dir: string, name: string): string {
  const path = join(dir, name);
  cpSync(PIPELINE, path, { recursive: true });
  return path;
}
