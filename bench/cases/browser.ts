import { HALF_LEVEL, type Pictures, runBrowser } from "../../scripts/browser/run.ts";
import { chromium } from "../../scripts/software/chromium.ts";
import type { BenchCase } from "../lib/case.ts";
import { ROOT } from "../lib/child.ts";

/** A build sampled in a browser against the same build sampled in Node. */
export const browserCase: BenchCase = {
  name: "browser",
  title: "pictures sampled in a browser",
  needs: [],
  async run({ say }) {
    const found: Pictures[] = [];
    await runBrowser({ chromium: chromium(ROOT), say, onPictures: (p) => void found.push(p) });
    return {
      columns: ["provider of onnxruntime-web", "pictures", "steps", "s", "largest difference of a pixel"],
      rows: found.map((p) => [p.provider, p.pictures, p.steps, p.seconds, p.off]),
      checks: found.map(({ provider, off }) => ({
        name: `${provider}, largest difference of a pixel in [-1, 1]`,
        value: off,
        relation: "<=" as const,
        limit: HALF_LEVEL,
        unit: "",
      })),
      commands: ["npm run browser"],
      notes: [
        "Headless Chromium; its WebGPU adapter is SwiftShader. The limit is half a grey level of 8 bits.",
      ],
    };
  },
};
