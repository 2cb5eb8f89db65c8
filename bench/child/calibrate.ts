import { collectStatistics, layerRequest, openPipeline, openTeacher } from "../../src/calibrate/index.ts";
import { readModel } from "../../src/ir/onnx/index.ts";
import { createRuntime } from "../../src/runtime/index.ts";

/** Child process: samples calibration trajectories, or collects statistics of every layer along them. */
const {
  pipeline: dir,
  samples,
  mode,
} = JSON.parse(process.argv[2] ?? "{}") as {
  pipeline: string;
  samples: number;
  mode: "sample" | "values" | "gram";
};
const runtime = await createRuntime({ workers: 0 });
const pipeline = await openPipeline(dir);
const options = { steps: 20, samples, batch: 8 };
const start = process.cpuUsage();
if (mode === "sample") {
  const teacher = await openTeacher(runtime, pipeline, options);
  await teacher.visit(async () => {});
  await teacher.release();
} else {
  const model = await readModel(pipeline.denoiser!.model);
  const request = layerRequest(model, { gram: mode === "gram", rows: 64 });
  await collectStatistics(model, runtime, pipeline, request, options);
}
const { user, system } = process.cpuUsage(start);
await runtime.close();
console.log(JSON.stringify({ cpu: (user + system) / 1e6 }));
