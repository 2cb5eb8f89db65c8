import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { compile } from "../../src/index.ts";
import type { SoftwareVulkan } from "../software/vulkan.ts";
import { BUILDS, recipeOf, type Row, type Task } from "./builds.ts";
import type { OperatorRow } from "./operators.ts";
import type { OverflowRow } from "./overflow.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Lowest SQNR in dB of a build on the GPU against itself on the CPU. */
export const ENOUGH_DB = 40;
/** Below this an output has nothing to do with what it should be. */
export const WRONG_DB = 10;

/** A finding of the process that runs the checks. */
export type Found = Row | { readonly overflow: OverflowRow } | { readonly operator: OperatorRow };

/** What to run, and who hears of it. */
export interface WebgpuRun {
  /** Builds whose name contains this; all when empty. */
  readonly wanted: string;
  readonly vulkan: SoftwareVulkan;
  readonly say: (text: string) => void;
  readonly onFound: (found: Found) => void;
}

/** Compiles the builds that can be made from what lies here; says which cannot. */
async function compileTasks({ wanted, say }: WebgpuRun): Promise<Task[]> {
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

/**
 * Runs builds, operators and planted overflows in a process that finds the driver; findings come as they are ready.
 * Throws when the process fails or a build gave no result.
 */
export async function runWebgpu(run: WebgpuRun): Promise<void> {
  const tasks = await compileTasks(run);
  run.say(`WebGPU on lavapipe of Mesa ${run.vulkan.mesa}, no fallback to the CPU`);
  const script = join(ROOT, "scripts/webgpu/child.ts");
  const child = spawn(process.execPath, ["--import", "tsx", script, JSON.stringify(tasks)], {
    cwd: ROOT,
    env: { ...process.env, ...run.vulkan.environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  let builds = 0;
  // The driver writes to stdout too: what is ours starts with a brace.
  for await (const line of createInterface({ input: child.stdout }))
    if (line.startsWith("{")) {
      const found = JSON.parse(line) as Found;
      if ("calls" in found) builds++;
      run.onFound(found);
    }
  const code = child.exitCode ?? (await new Promise<number | null>((done) => child.on("close", done)));
  if (code !== 0) throw new Error(`the checks ended with ${code}\n${errors.slice(-2000)}`);
  if (builds < tasks.length) throw new Error(`${tasks.length - builds} builds gave no result`);
}
