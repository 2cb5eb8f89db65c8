// Builds the bundled pipeline for three targets with the command line, then samples original and builds side by side.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { styleText } from "node:util";
import {
  floats,
  openPipeline,
  pipelineDenoiser,
  pipelineScheduler,
  resolveConditions,
  sampleTrajectory,
  sessionDenoiser,
  verificationSeeds,
} from "../src/calibrate/index.ts";
import type { Report } from "../src/index.ts";
import { createRuntime, type Runtime } from "../src/runtime/index.ts";
import { type Picture, sampleGrid } from "./demo/grid.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const SOURCE = "fixtures/cifar-unet";
const TARGETS = ["cpu-x64", "webgpu", "qnn-htp"];
const PRESET = "w8";
const OUT = "out/demo";
const SEEDS = 3;

const say = (text: string): void => void process.stderr.write(`${text}\n`);
const strong = (text: string): string =>
  process.stderr.isTTY && !process.env["NO_COLOR"] ? styleText("bold", text) : text;

/** Every condition of the pipeline for every seed, condition by condition: `[seed][condition]`. */
async function samplesOf(
  runtime: Runtime,
  folder: string,
): Promise<{ names: string[]; pictures: Picture[][] }> {
  // Schedule, conditions and text encoder are those of the folder itself: a build is a pipeline of its own.
  const pipeline = await openPipeline(folder);
  const session = await runtime.openSession(pipelineDenoiser(pipeline).model, { threads: 2 });
  try {
    const denoiser = sessionDenoiser(session, pipeline.sampling.roles);
    const conditions = await resolveConditions(pipeline, runtime, denoiser.roles);
    const count = conditions.conditions.length;
    const seeds = verificationSeeds(0, SEEDS).flatMap((s) => new Array<typeof s>(count).fill(s));
    const size = 16;
    const { samples } = await sampleTrajectory({
      denoiser,
      scheduler: pipelineScheduler(pipeline),
      guidance: { scale: pipeline.sampling.guidance },
      seeds,
      conditions,
      shape: [3, size, size],
      batch: 9,
    });
    const values = floats(samples);
    const length = 3 * size * size;
    const picture = (k: number): Picture => ({ size, planes: values.slice(k * length, (k + 1) * length) });
    return {
      names: Array.from({ length: count }, (_, i) => conditions.conditions[i]!.name),
      pictures: Array.from({ length: SEEDS }, (_, s) =>
        Array.from({ length: count }, (_, c) => picture(s * count + c)),
      ),
    };
  } finally {
    await session.release();
  }
}

function compileDemo(): void {
  const args = ["compile", SOURCE, "--preset", PRESET, "--target", TARGETS.join(","), "-o", OUT];
  say(strong(`diffpress ${args.join(" ")}`));
  const { status } = spawnSync(process.execPath, ["dist/cli/main.js", ...args], {
    cwd: ROOT,
    stdio: "inherit",
  });
  if (status !== 0) process.exit(status ?? 1);
}

async function drawGrid(): Promise<string> {
  const runtime = await createRuntime();
  try {
    const folders = [SOURCE, ...TARGETS.map((t) => `${OUT}/${t}`)];
    const sides: Awaited<ReturnType<typeof samplesOf>>[] = [];
    for (const folder of folders) sides.push(await samplesOf(runtime, join(ROOT, folder)));
    const report = JSON.parse(readFileSync(join(ROOT, OUT, "report.json"), "utf8")) as Report;
    const fidelity = report.targets[TARGETS[0]!]!.fidelity!;
    const share = (t: string): string => {
      const { before, after } = report.targets[t]!.bytes;
      return `${t} ${Math.round((100 * after) / before)}%`;
    };
    const png = sampleGrid({
      title: `cifar-unet, preset ${PRESET}: ${fidelity.sampler}, ${fidelity.steps} steps, guidance ${fidelity.guidance}`,
      subtitle: `sizes: ${TARGETS.map(share).join(", ")} of the original`,
      columns: ["original", ...TARGETS],
      groupLabels: Array.from({ length: SEEDS }, (_, s) => `seed ${s + 1}`),
      rows: sides[0]!.names.map((label, c) => ({
        label,
        groups: Array.from({ length: SEEDS }, (_, s) => sides.map((side) => side.pictures[s]![c]!)),
      })),
    });
    const path = join(ROOT, "out", "demo-samples.png");
    mkdirSync(join(ROOT, "out"), { recursive: true });
    writeFileSync(path, png);
    return relative(process.cwd(), path);
  } finally {
    await runtime.close();
  }
}

compileDemo();
say(`samples ${await drawGrid()}`);
