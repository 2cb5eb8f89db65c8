/** Runs tasks on the WebGPU provider and on the CPU provider; started by `scripts/webgpu.ts` with the driver's variables. */
import {
  type Denoiser,
  floats,
  openPipeline,
  pipelineDenoiser,
  pipelineScheduler,
  resolveConditions,
  sampleShape,
  sampleTrajectory,
  sessionDenoiser,
  verificationSeeds,
} from "../../src/calibrate/index.ts";
import { readModel } from "../../src/ir/onnx/index.ts";
import { createRuntime, type Runtime, type SessionOptions } from "../../src/runtime/index.ts";
import { energies, ratioDb, sqnr } from "../../src/verify/metrics/sqnr.ts";
import type { Row, Task } from "./builds.ts";
import { overflowRows } from "./overflow.ts";

/** A node without a kernel on the provider ends the session instead of running on the CPU unseen. */
const GPU: SessionOptions = {
  provider: "webgpu",
  config: { "session.disable_cpu_ep_fallback": "1" },
};

async function packedCount(path: string): Promise<number> {
  const { graph } = await readModel(path);
  return [...graph.nodes()].filter((n) => n.op === "MatMulNBits").length;
}

async function runTask(runtime: Runtime, task: Task): Promise<Row> {
  const pipeline = await openPipeline(task.folder);
  const path = pipelineDenoiser(pipeline).model;
  const cpu = await runtime.openSession(path);
  const gpu = await runtime.openSession(path, GPU);
  try {
    const reference = sessionDenoiser(cpu, pipeline.sampling.roles);
    const candidate = sessionDenoiser(gpu, pipeline.sampling.roles);
    const common = {
      scheduler: pipelineScheduler(pipeline, { steps: task.steps }),
      guidance: { scale: pipeline.sampling.guidance },
      seeds: verificationSeeds(0, 1),
      conditions: await resolveConditions(pipeline, runtime, reference.roles),
      shape: sampleShape(reference.roles.sample, { channels: null, height: null, width: null }),
    };
    let worst = Number.POSITIVE_INFINITY;
    let [signal, noise] = [0, 0];
    const seconds: number[] = [];
    const timed: Denoiser = {
      roles: candidate.roles,
      run: async (feeds) => {
        const start = performance.now();
        const out = await candidate.run(feeds);
        seconds.push((performance.now() - start) / 1000);
        return out;
      },
    };
    const exact = await sampleTrajectory({
      ...common,
      denoiser: reference,
      onStep: async ({ feeds, output }) => {
        const e = energies(floats(output), floats(await timed.run(feeds)));
        worst = Math.min(worst, ratioDb(e.signal, e.noise));
        signal += e.signal;
        noise += e.noise;
      },
    });
    const free = await sampleTrajectory({ ...common, denoiser: timed, notFinite: "keep" });
    return {
      name: task.name,
      error: null,
      calls: seconds.length,
      whole: ratioDb(signal, noise),
      worst,
      sample: sqnr(floats(exact.samples), floats(free.samples)),
      packed: await packedCount(path),
      firstSeconds: seconds[0]!,
      nextSeconds: Math.min(...seconds.slice(1)),
    };
  } finally {
    await cpu.release();
    await gpu.release();
  }
}

const runtime = await createRuntime({ workers: 0 });
for (const task of JSON.parse(process.argv[2] ?? "[]") as Task[]) {
  const failed = { calls: 0, whole: 0, worst: 0, sample: 0, packed: 0, firstSeconds: 0, nextSeconds: 0 };
  const row = await runTask(runtime, task).catch(
    (e: unknown): Row => ({ name: task.name, ...failed, error: e instanceof Error ? e.message : String(e) }),
  );
  process.stdout.write(`${JSON.stringify(row)}\n`);
}
for await (const overflow of overflowRows(runtime, GPU))
  process.stdout.write(`${JSON.stringify({ overflow })}\n`);
await runtime.close();
