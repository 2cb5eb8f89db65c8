import { build } from "../lib/build.ts";
import type { BenchCase } from "../lib/case.ts";
import { diffpress } from "../lib/child.ts";
import { countFileNodes } from "../lib/proto.ts";
import { latents } from "./shapes.ts";
import { weightBuilds } from "./skeleton-weights.ts";

/** The SDXL UNet: too large to run here, so size, time and memory of the compiler only. */
export const sdxl: BenchCase = {
  name: "sdxl",
  title: "SDXL UNet, 10.27 GB",
  needs: ["skeletons/sdxl-unet.onnx"],
  disk: 24e9,
  memory: 3e9,
  large: true,
  async run(context) {
    const { scratch, say } = context;
    const source = await scratch.skeleton("sdxl-unet");
    say("inspecting");
    const seen = await diffpress(["inspect", source, "--json"]);
    const before = countFileNodes(source);
    say("compiling exact");
    const exact = await build({
      source,
      out: scratch.fresh("sdxl-exact"),
      preset: "exact",
      shape: latents(128),
    });
    const after = countFileNodes(exact.model);
    scratch.drop(exact.out);
    const weights = await weightBuilds(context, "sdxl-unet", ["w8", "w4"], false);
    return {
      columns: ["what", "output GB", "s", "peak RSS MiB", "nodes"],
      rows: [
        ["inspect", "", seen.seconds, seen.peakBytes / 2 ** 20, before],
        [
          "exact, 128×128, batch 2",
          exact.bytes / 1e9,
          exact.measured.seconds,
          exact.measured.peakBytes / 2 ** 20,
          after,
        ],
        ...weights.rows.map((r) => [...r.slice(0, 4), ""]),
      ],
      checks: weights.checks,
      commands: ["diffpress inspect sdxl-unet.onnx --json", exact.command, ...weights.commands],
      notes: ["The builds are not run: a session needs more memory than the machine has."],
    };
  },
};
