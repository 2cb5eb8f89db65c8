import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { type Page, chromium as playwright } from "playwright-core";
import {
  floats,
  openPipeline,
  pipelineDenoiser,
  pipelineScheduler,
  resolveConditions,
  sampleTrajectory,
  sessionDenoiser,
  verificationSeeds,
} from "../../src/calibrate/index.ts";
import { compile } from "../../src/index.ts";
import { createRuntime } from "../../src/runtime/index.ts";
import { type SampleAnswer, type SampleRequest, sendConditions } from "./request.ts";
import { serve } from "./serve.ts";
import type { Chromium } from "../software/chromium.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SOURCE = "fixtures/cifar-unet";
const OUT = join(ROOT, "out", "browser");
const SHAPE = [3, 16, 16];

/** Two pictures of each of three conditions, as the pipeline samples; and what a GPU that is a processor can do. */
const WASM = { provider: "wasm", seeds: 6, steps: 20 } as const;
const WEBGPU = { provider: "webgpu", seeds: 1, steps: 2 } as const;

/** Half a grey level of a picture in [-1, 1]: no rounding to 8 bits sees less. */
export const HALF_LEVEL = 1 / 255;

const PAGE = `<!doctype html><meta charset="utf-8"><title>diffpress</title><style>
body { margin: 0; padding: 24px 0 24px 24px; font: 16px sans-serif; color: #282a30; background: #fafaf8; display: inline-block }
figure { display: inline-flex; flex-direction: column; gap: 8px; margin: 0 24px 0 0; text-align: center }
</style><script type="module" src="/page.js"></script>`;

const HAS_ADAPTER = "Promise.resolve(navigator.gpu?.requestAdapter()).then((a) => a != null)";

/** The page's code in one file, with what stands in for Node in a browser. */
async function bundle(): Promise<string> {
  const { outputFiles } = await build({
    stdin: {
      contents: 'import { sample } from "./page.ts"; globalThis.sample = sample; globalThis.ready = true;',
      resolveDir: join(ROOT, "scripts", "browser"),
    },
    alias: { "node:crypto": join(ROOT, "scripts/browser/sha256.ts") },
    bundle: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    write: false,
    logLevel: "error",
  });
  return outputFiles[0]!.text;
}

/** A build, what a page has to do to sample it, and what comes out of that here. */
interface Expected {
  readonly model: string;
  readonly sampled: readonly { readonly request: SampleRequest; readonly samples: Float32Array }[];
}

/** Compiles the build and samples it here, once for each plan. */
async function sampleHere(
  plans: readonly Pick<SampleRequest, "provider" | "seeds" | "steps">[],
): Promise<Expected> {
  await compile(join(ROOT, SOURCE), { preset: "w4", targets: ["webgpu"], verify: false, out: OUT });
  const runtime = await createRuntime();
  try {
    const pipeline = await openPipeline(join(OUT, "webgpu"));
    const { model } = pipelineDenoiser(pipeline);
    const session = await runtime.openSession(model);
    const { roles, guidance, sampler } = pipeline.sampling;
    const denoiser = sessionDenoiser(session, roles);
    const conditions = await resolveConditions(pipeline, runtime, denoiser.roles);
    const schedule = { config: pipeline.scheduler!.config, sampler };
    const sampled = [];
    for (const { provider, seeds, steps } of plans) {
      const { samples } = await sampleTrajectory({
        denoiser,
        scheduler: pipelineScheduler(pipeline, { steps }),
        guidance: { scale: guidance },
        seeds: verificationSeeds(0, seeds),
        conditions,
        shape: SHAPE,
        batch: seeds,
      });
      const asked = { provider, seeds, steps, model: "/model.onnx", roles, schedule, guidance, shape: SHAPE };
      sampled.push({ request: { ...asked, ...sendConditions(conditions) }, samples: floats(samples) });
    }
    await session.release();
    return { model, sampled };
  } finally {
    await runtime.close();
  }
}

/** Pictures of one provider of the browser against those sampled here. */
export interface Pictures {
  readonly provider: SampleRequest["provider"];
  readonly pictures: number;
  readonly steps: number;
  readonly seconds: number;
  /** Largest difference of a pixel in [-1, 1]; not a number when the page's pictures hold one. */
  readonly off: number;
}

/** What {@link runBrowser} tells. */
export interface BrowserRun {
  readonly chromium: Chromium;
  /** What is going on, for people. */
  readonly say: (text: string) => void;
  readonly onPictures: (pictures: Pictures) => void;
}

async function comparePictures(
  page: Page,
  request: SampleRequest,
  expected: Float32Array,
): Promise<Pictures> {
  const asked = JSON.stringify(request);
  const { samples, seconds } = await page.evaluate<SampleAnswer>(`globalThis.sample(${asked})`);
  if (samples.length !== expected.length)
    throw new Error(`the page gave ${samples.length} values, ${expected.length} were expected`);
  let off = 0;
  // Not a number stays one: `Math.max` hands it on.
  for (const [i, v] of expected.entries()) off = Math.max(off, Math.abs(v - samples[i]!));
  return { provider: request.provider, pictures: request.seeds, steps: request.steps, seconds, off };
}

/** Samples a build in a page of the browser, once for each provider it has, and compares with what Node samples. */
export async function runBrowser({ chromium, say, onPictures }: BrowserRun): Promise<void> {
  const { model, sampled } = await sampleHere([WASM, WEBGPU]);
  const server = await serve({
    "/": { bytes: PAGE },
    "/page.js": { bytes: await bundle() },
    "/model.onnx": { bytes: readFileSync(model) },
    "/ort/": { folder: join(ROOT, "node_modules", "onnxruntime-web", "dist") },
  });
  const browser = await playwright.launch({
    executablePath: chromium.executable,
    env: { ...process.env, ...chromium.environment } as Record<string, string>,
    // Containers lack what Chromium's sandbox needs; the page is ours and served from this machine.
    // Where there is no GPU, the browser brings one that runs on the processor.
    args: ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
  });
  try {
    say(`Chromium ${browser.version()}, onnxruntime-web, ${SOURCE} in 4 bits`);
    const page = await browser.newPage();
    page.on("pageerror", (e) => say(`page: ${e.message}`));
    await page.goto(server.origin);
    await page.waitForFunction("globalThis.ready === true");
    for (const { request, samples } of sampled) {
      if (request.provider === "webgpu" && !(await page.evaluate<boolean>(HAS_ADAPTER))) {
        say("SKIPPED: webgpu in the browser: it has no adapter here");
        continue;
      }
      onPictures(await comparePictures(page, request, samples));
      if (request.provider !== "wasm") continue;
      mkdirSync(OUT, { recursive: true });
      await page.locator("body").screenshot({ path: join(OUT, "samples.png") });
      say("samples out/browser/samples.png");
    }
  } finally {
    await browser.close();
    server.close();
  }
}
