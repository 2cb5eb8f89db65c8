/**
 * Samples a build in headless Chromium with onnxruntime-web and compares the pictures with those Node samples:
 *
 *     npm run browser
 *
 * The page runs the project's own sampling loop, bundled. Writes `out/browser/samples.png`. WebGPU is tried where the
 * browser has an adapter. Exit code 1: pictures differ; 77: no browser on this machine, nothing was checked.
 */
import { fileURLToPath } from "node:url";
import { HALF_LEVEL, runBrowser } from "./browser/run.ts";
import { chromium } from "./software/chromium.ts";
import { skipUnavailable } from "./software/unpack.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

const say = (text: string): void => void process.stderr.write(`${text}\n`);

let failed = 0;
await runBrowser({
  chromium: skipUnavailable("Chromium", () => chromium(ROOT)),
  say,
  onPictures: ({ provider, pictures, steps, seconds, off }) => {
    const good = off <= HALF_LEVEL;
    if (!good) failed++;
    say(
      `${good ? "ok    " : "FAILED"} ${provider}: ${pictures} pictures of ${steps} steps in ${seconds.toFixed(1)} s, ` +
        `largest difference ${off.toExponential(1)} of ${HALF_LEVEL.toExponential(1)} allowed`,
    );
  },
});
process.stdout.write(`${failed === 0 ? "passed" : `${failed} failed`}\n`);
process.exitCode = failed === 0 ? 0 : 1;
