import { build } from "../lib/build.ts";
import type { BenchCase } from "../lib/case.ts";
import { runScript } from "../lib/child.ts";
import { countFileNodes } from "../lib/proto.ts";
import { latents } from "./shapes.ts";

interface Once {
  readonly loadSeconds: number;
  readonly runSeconds: number;
  readonly finite: boolean;
}

/** Exact passes on the SD 1.5 UNet at a fixed shape: nodes left, and that the result runs. */
export const skeletonExact: BenchCase = {
  name: "skeleton-exact",
  title: "exact build of the SD 1.5 UNet at 64×64, batch 2",
  needs: ["skeletons/sd15-unet.onnx"],
  disk: 8e9,
  memory: 9e9,
  async run({ scratch, say }) {
    const source = await scratch.skeleton("sd15-unet");
    const dims = latents(64);
    say("compiling");
    const made = await build({ source, out: scratch.fresh("sd15-exact"), preset: "exact", shape: dims });
    const before = countFileNodes(source);
    const after = countFileNodes(made.model);
    say("running the build once");
    const { value, measured } = await runScript<Once>("run-once.ts", { model: made.model, threads: 2, dims });
    scratch.drop(made.out);
    return {
      columns: [
        "nodes before",
        "nodes after",
        "compile s",
        "compile peak RSS MiB",
        "run s (2 threads)",
        "run peak RSS MiB",
      ],
      rows: [
        [
          before,
          after,
          made.measured.seconds,
          made.measured.peakBytes / 2 ** 20,
          value.runSeconds,
          measured.peakBytes / 2 ** 20,
        ],
      ],
      checks: [
        { name: "nodes left", value: after, relation: "<=", limit: 1700, unit: "nodes" },
        { name: "runs with finite outputs", value: value.finite ? 1 : 0, relation: ">=", limit: 1, unit: "" },
      ],
      commands: [made.command],
      notes: [
        "The filler writes ones and zeros into norm parameters, so the factor and offset of all 61 group normalisations fold away; trained ones leave 61 BatchNormalization nodes more.",
      ],
    };
  },
};
