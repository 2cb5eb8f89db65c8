/** Runs in the browser: the project's own sampling loop over a session of onnxruntime-web. */
// The entry with the native WebGPU provider: the default one's older provider has no 8-bit MatMulNBits.
import * as web from "onnxruntime-web/webgpu";
import { sessionDenoiser } from "../../src/calibrate/denoiser.ts";
import { floats } from "../../src/calibrate/dense.ts";
import { sampleTrajectory } from "../../src/calibrate/sampler.ts";
import { createScheduler } from "../../src/calibrate/schedulers/index.ts";
import { verificationSeeds } from "../../src/calibrate/seeds.ts";
import type { Ort } from "../../src/runtime/ort.ts";
import type { Session } from "../../src/runtime/session.ts";
import { dtypeOfOrt, fromOrt, toOrt } from "../../src/runtime/values.ts";
import { receiveConditions, type SampleAnswer, type SampleRequest } from "./request.ts";

// The part of the DOM used here; the project's code is typed without one.
interface Canvas {
  width: number;
  height: number;
  getContext(kind: "2d"): { fillStyle: string; fillRect(x: number, y: number, w: number, h: number): void };
}
declare const document: {
  readonly body: { append(...nodes: unknown[]): void };
  createElement(tag: "canvas"): Canvas;
  createElement(tag: "figure" | "figcaption"): { textContent: string; append(...nodes: unknown[]): void };
};

/** Screen pixels per picture pixel. */
const SCALE = 8;

web.env.wasm.wasmPaths = "/ort/";
// More threads would need a page isolated from others.
web.env.wasm.numThreads = 1;
const ort = web as unknown as Ort;

/** A session of onnxruntime-web behind the interface of the project's own runtime. */
async function openSession(url: string, provider: SampleRequest["provider"]): Promise<Session> {
  const session = await web.InferenceSession.create(url, { executionProviders: [provider] });
  const ports = (metadata: typeof session.inputMetadata) =>
    metadata.map((m) => {
      const dtype = m.isTensor ? dtypeOfOrt(m.type) : null;
      if (!m.isTensor || dtype === null) throw new Error(`"${m.name}" cannot be passed`);
      return { name: m.name, dtype, shape: m.shape };
    });
  return {
    inputs: ports(session.inputMetadata),
    outputs: ports(session.outputMetadata),
    async run(feeds, fetches) {
      const given = Object.fromEntries([...feeds].map(([name, d]) => [name, toOrt(ort, d)]));
      const wanted = fetches ?? session.outputNames;
      const results = await session.run(given as never, [...wanted]);
      return new Map(wanted.map((name) => [name, fromOrt(results[name] as never)]));
    },
    release: () => session.release(),
  };
}

/** One picture from three planes of values in [-1, 1]. */
function draw(planes: Float32Array, size: number): Canvas {
  const canvas = document.createElement("canvas");
  canvas.width = size * SCALE;
  canvas.height = size * SCALE;
  const context = canvas.getContext("2d");
  const grey = (v: number): number => Math.round(127.5 * (Math.min(1, Math.max(-1, v)) + 1));
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) {
      const [r, g, b] = [0, 1, 2].map((c) => grey(planes[(c * size + y) * size + x]!));
      context.fillStyle = `rgb(${r} ${g} ${b})`;
      context.fillRect(x * SCALE, y * SCALE, SCALE, SCALE);
    }
  return canvas;
}

/** Samples what is asked for and adds the pictures to the page, a figure per condition. */
export async function sample(request: SampleRequest): Promise<SampleAnswer> {
  const { config, sampler } = request.schedule;
  const session = await openSession(request.model, request.provider);
  const start = performance.now();
  const { samples } = await sampleTrajectory({
    denoiser: sessionDenoiser(session, request.roles),
    scheduler: createScheduler(config, { ...(sampler != null && { sampler }), steps: request.steps }),
    guidance: { scale: request.guidance },
    seeds: verificationSeeds(0, request.seeds),
    conditions: receiveConditions(request),
    shape: request.shape,
    batch: request.seeds,
  });
  const seconds = (performance.now() - start) / 1000;
  await session.release();
  const values = floats(samples);
  const [, size = 0] = request.shape;
  const length = values.length / request.seeds;
  for (const [c, { name }] of request.conditions.entries()) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = name;
    for (let i = c; i < request.seeds; i += request.conditions.length)
      figure.append(draw(values.subarray(i * length, (i + 1) * length), size));
    figure.append(caption);
    document.body.append(figure);
  }
  return { samples: [...values], seconds };
}
