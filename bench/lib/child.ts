import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Repository root. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** What one run of a program took. */
export interface Measured {
  readonly seconds: number;
  /** Processor seconds, user and system: what a loaded machine does not stretch. */
  readonly cpuSeconds: number;
  /** Peak resident bytes of the process (threads included, helper processes not). */
  readonly peakBytes: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Processes under way: they end with the bench. */
const running = new Set<ChildProcess>();
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, () => {
    for (const child of running) child.kill(signal);
    process.exit(130);
  });

/** Runs Node on a script and measures it. Throws with the end of stderr when the exit code is not 0. */
export async function runNode(args: readonly string[]): Promise<Measured> {
  const dir = mkdtempSync(join(tmpdir(), "diffpress-bench-rss-"));
  const rss = join(dir, "rss");
  const hook = join(ROOT, "bench/child/rss-hook.mjs");
  try {
    const start = performance.now();
    const child = spawn(process.execPath, ["--import", hook, ...args], {
      cwd: ROOT,
      env: { ...process.env, DIFFPRESS_BENCH_RSS: rss },
      stdio: ["ignore", "pipe", "pipe"],
    });
    running.add(child);
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    const code = await new Promise<number | null>((resolve, reject) => {
      child.on("error", reject).on("close", resolve);
    });
    running.delete(child);
    const seconds = (performance.now() - start) / 1000;
    if (code !== 0)
      throw new Error(`${args.slice(0, 3).join(" ")} … exited with ${code}\n${stderr.slice(-2000)}`);
    const { peak, cpu } = JSON.parse(readFileSync(rss, "utf8")) as { peak: number; cpu: number };
    return { seconds, cpuSeconds: cpu, peakBytes: peak, stdout, stderr };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Arguments that start the command line: the built program where there is one, the sources otherwise. */
function program(): readonly string[] {
  return existsSync(join(ROOT, "dist/cli/main.js"))
    ? ["dist/cli/main.js"]
    : ["--import", "tsx", "cli/main.ts"];
}

/** Runs `diffpress` in a process of its own. */
export function diffpress(args: readonly string[]): Promise<Measured> {
  return runNode([...program(), ...args]);
}

/** Runs a TypeScript file of the bench in a process of its own and parses its last line as JSON. */
export async function runScript<T>(
  script: string,
  input: unknown,
): Promise<{ value: T; measured: Measured }> {
  const measured = await runNode(["--import", "tsx", join("bench/child", script), JSON.stringify(input)]);
  const last = measured.stdout.trimEnd().split("\n").at(-1) ?? "";
  return { value: JSON.parse(last) as T, measured };
}
