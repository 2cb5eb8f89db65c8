/**
 * Runs builds for target webgpu on onnxruntime's WebGPU provider, on a Vulkan driver that runs on the processor:
 *
 *     npm run webgpu            # every check
 *     npm run webgpu -- dit     # those whose name contains "dit"
 *
 * Sessions may not fall back to the CPU. Each build is compared with itself on the CPU provider, call by call of a short
 * trajectory; models with a planted overflow show that half precision really is half there, and that fp32 islands repair
 * it. Exit code 1: a check failed; 77: no software Vulkan on this machine, nothing was checked.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { compile } from "../src/index.ts";
import { skipUnavailable } from "./software/unpack.ts";
import { softwareVulkan } from "./software/vulkan.ts";
import { BUILDS, recipeOf, type Row, type Task } from "./webgpu/builds.ts";
import type { OverflowRow } from "./webgpu/overflow.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Lowest SQNR in dB of a build on the GPU against itself on the CPU. */
const ENOUGH_DB = 40;
/** Below this an output has nothing to do with what it should be. */
const WRONG_DB = 10;

const say = (text: string): void => void process.stderr.write(`${text}\n`);

/** Compiles the builds that can be made from what lies here; says which cannot. */
async function compileTasks(wanted: string): Promise<Task[]> {
  const tasks: Task[] = [];
  for (const build of BUILDS) {
    if (!build.name.includes(wanted)) continue;
    const source = join(ROOT, build.source);
    if (!existsSync(source)) {
      say(`SKIPPED: ${build.name}: ${build.source} is not here`);
      continue;
    }
    const out = join(ROOT, "out", "webgpu", build.name);
    await compile(source, {
      recipe: recipeOf(build.preset),
      targets: ["webgpu"],
      shape: build.shape,
      verify: false,
      out,
    });
    tasks.push({ name: build.name, folder: join(out, "webgpu"), steps: build.steps });
  }
  return tasks;
}

/** A line of the process that runs the checks. */
type Found = Row | { readonly overflow: OverflowRow };

/** Runs the tasks in a process that finds the driver; rows come as they are ready. */
async function runTasks(
  tasks: readonly Task[],
  environment: Readonly<Record<string, string>>,
  onFound: (found: Found) => void,
): Promise<void> {
  const script = join(ROOT, "scripts/webgpu/child.ts");
  const child = spawn(process.execPath, ["--import", "tsx", script, JSON.stringify(tasks)], {
    cwd: ROOT,
    env: { ...process.env, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  // The driver writes to stdout too: what is ours starts with a brace.
  for await (const line of createInterface({ input: child.stdout }))
    if (line.startsWith("{")) onFound(JSON.parse(line) as Found);
  const code = child.exitCode ?? (await new Promise<number | null>((done) => child.on("close", done)));
  if (code !== 0) throw new Error(`the checks ended with ${code}\n${errors.slice(-2000)}`);
}

/** What a check says: whether it passed, and the line about it. */
type Verdict = readonly [good: boolean, text: string];

const shown = (db: number | null): string => (db === null ? "not finite" : `${db.toFixed(1)} dB`);

function verdictOnBuild(row: Row): Verdict {
  if (row.error !== null) return [false, `${row.name}: ${row.error}`];
  return [
    row.whole >= ENOUGH_DB,
    `${row.name}: ${row.calls} calls, ${shown(row.whole)}, worst call ${shown(row.worst)}, sampled freely ` +
      `${shown(row.sample)}; ${row.packed} MatMulNBits; first call ${row.firstSeconds.toFixed(1)} s, then ` +
      `${row.nextSeconds.toFixed(1)} s`,
  ];
}

/** An overflow has to show without islands, or the run would not prove that islands repair it. */
function verdictOnOverflow(row: OverflowRow): Verdict {
  const shows = row.plain === null || row.plain < WRONG_DB;
  const repaired = row.islands !== null && row.islands >= ENOUGH_DB;
  return [
    shows && repaired,
    `${row.name} (peak ${row.peak.toFixed(0)}, optimisation ${row.optimize}): fp16 ${shown(row.plain)}, ` +
      `with ${row.kept} nodes in fp32 ${shown(row.islands)}`,
  ];
}

const { mesa, environment } = skipUnavailable("software Vulkan", () => softwareVulkan(ROOT));
const tasks = await compileTasks(process.argv[2] ?? "");
say(`WebGPU on lavapipe of Mesa ${mesa}, no fallback to the CPU`);
const counts = { passed: 0, failed: 0, builds: 0 };
await runTasks(tasks, environment, (found) => {
  if (!("overflow" in found)) counts.builds++;
  const [good, text] = "overflow" in found ? verdictOnOverflow(found.overflow) : verdictOnBuild(found);
  counts[good ? "passed" : "failed"]++;
  say(`${good ? "ok    " : "FAILED"} ${text}`);
});
if (counts.builds < tasks.length) throw new Error(`${tasks.length - counts.builds} builds gave no result`);
process.stdout.write(`${counts.passed} passed, ${counts.failed} failed\n`);
process.exitCode = counts.failed === 0 ? 0 : 1;
