/**
 * Runs builds for target webgpu on onnxruntime's WebGPU provider, on a Vulkan driver that runs on the processor:
 *
 *     npm run webgpu            # every check
 *     npm run webgpu -- dit     # those whose name contains "dit"
 *
 * Sessions may not fall back to the CPU. Each build is compared with itself on the CPU provider, call by call. Exit code
 * 1: a check failed; 77: no software Vulkan on this machine, nothing was checked.
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

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Lowest SQNR in dB of a build on the GPU against itself on the CPU. */
const ENOUGH_DB = 40;

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

/** Runs the tasks in a process that finds the driver; rows come as they are ready. */
async function runTasks(
  tasks: readonly Task[],
  environment: Readonly<Record<string, string>>,
  onRow: (row: Row) => void,
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
    if (line.startsWith("{")) onRow(JSON.parse(line) as Row);
  const code = child.exitCode ?? (await new Promise<number | null>((done) => child.on("close", done)));
  if (code !== 0) throw new Error(`the checks ended with ${code}\n${errors.slice(-2000)}`);
}

const { mesa, environment } = skipUnavailable("software Vulkan", () => softwareVulkan(ROOT));
const tasks = await compileTasks(process.argv[2] ?? "");
say(`WebGPU on lavapipe of Mesa ${mesa}, no fallback to the CPU; ${tasks.length} builds`);
let failed = 0;
let ran = 0;
await runTasks(tasks, environment, (row) => {
  ran++;
  const good = row.error === null && row.worst >= ENOUGH_DB && row.sample >= ENOUGH_DB;
  if (!good) failed++;
  const found =
    row.error ??
    `${row.calls} calls, worst ${row.worst.toFixed(1)} dB, sample ${row.sample.toFixed(1)} dB, ` +
      `${row.packed} MatMulNBits, first call ${row.firstSeconds.toFixed(1)} s, then ${row.nextSeconds.toFixed(1)} s`;
  say(`${good ? "ok    " : "FAILED"} ${row.name}: ${found}`);
});
if (ran < tasks.length) throw new Error(`${tasks.length - ran} builds gave no result`);
process.stdout.write(`${ran - failed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 ? 0 : 1;
