import type { BenchCase } from "../lib/case.ts";
import { diffpress } from "../lib/child.ts";
import { median } from "../lib/stats.ts";

const RUNS = 5;

/** `inspect` of the filled SD 1.5 UNet: time and memory do not grow with the weights. */
export const skeletonInspect: BenchCase = {
  name: "skeleton-inspect",
  title: "inspect of a 3.44 GB UNet",
  needs: ["skeletons/sd15-unet.onnx"],
  disk: 4e9,
  async run({ scratch, say }) {
    const model = await scratch.skeleton("sd15-unet");
    const runs = [];
    for (let i = 0; i <= RUNS; i++) {
      say(`run ${i} of ${RUNS}`);
      runs.push(await diffpress(["inspect", model, "--json"]));
    }
    const seconds = median(runs.slice(1).map((r) => r.seconds));
    const cpu = median(runs.slice(1).map((r) => r.cpuSeconds));
    const peak = Math.max(...runs.map((r) => r.peakBytes)) / 2 ** 20;
    return {
      columns: ["model", "median s", "median processor s", "peak RSS MiB"],
      rows: [["sd15-unet", seconds, cpu, peak]],
      checks: [
        { name: "inspect time", value: seconds, relation: "<=", limit: 2, unit: "s" },
        { name: "inspect peak RSS", value: (peak * 2 ** 20) / 1e6, relation: "<=", limit: 300, unit: "MB" },
      ],
      commands: ["diffpress inspect sd15-unet.onnx --json"],
    };
  },
};
