import { build } from "../lib/build.ts";
import type { BenchCase } from "../lib/case.ts";
import { interleave } from "../lib/pair.ts";
import { latents } from "./shapes.ts";

/** SD 1.5 at 32×32, batch 2, two threads: both sessions in one process, runs alternating. */
export const skeletonSpeed: BenchCase = {
  name: "skeleton-speed",
  title: "speed of the exact SD 1.5 UNet at 32×32, batch 2, two threads",
  needs: ["skeletons/sd15-unet.onnx"],
  disk: 8e9,
  memory: 12e9,
  async run({ scratch, say }) {
    const source = await scratch.skeleton("sd15-unet");
    const dims = latents(32);
    say("compiling");
    const made = await build({ source, out: scratch.fresh("sd15-exact-32"), preset: "exact", shape: dims });
    say("timing, runs alternate");
    const r = await interleave({
      original: source,
      build: made.model,
      dims,
      threads: 2,
      warmup: 1,
      runs: 14,
    });
    scratch.drop(made.out);
    const s = r.speedup;
    return {
      columns: ["original s", "build s", "speedup [95 %]", "runs", "peak RSS MiB of both sessions"],
      rows: [
        [
          r.original,
          r.build,
          `${s.median.toFixed(3)} [${s.low.toFixed(3)}, ${s.high.toFixed(3)}]`,
          r.runs,
          r.peakBytes / 2 ** 20,
        ],
      ],
      checks: [{ name: "speedup", value: s.median, relation: ">=", limit: 1.05, unit: "× original" }],
      commands: [made.command],
    };
  },
};
