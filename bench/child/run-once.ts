import { type Dims, defaultSession, seededFeeds } from "../lib/feeds.ts";

/** Child process: loads a model, runs it once and says whether every output is finite. */
const { model, threads, dims } = JSON.parse(process.argv[2] ?? "{}") as {
  model: string;
  threads: number;
  dims: Dims;
};
const start = performance.now();
const session = await defaultSession(model, threads);
const loaded = performance.now();
const outputs = await session.run(seededFeeds(session, dims));
const done = performance.now();
let finite = true;
const shapes: Record<string, readonly number[]> = {};
for (const [name, tensor] of Object.entries(outputs)) {
  shapes[name] = tensor.dims;
  if (tensor.data instanceof Float32Array) finite &&= tensor.data.every((v) => Number.isFinite(v));
}
console.log(
  JSON.stringify({
    loadSeconds: (loaded - start) / 1000,
    runSeconds: (done - loaded) / 1000,
    finite,
    shapes,
  }),
);
