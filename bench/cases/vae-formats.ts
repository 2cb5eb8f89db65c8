import { linkSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { TargetReport } from "../../src/report/types.ts";
import { reportIn } from "../lib/build.ts";
import type { BenchCase, Check } from "../lib/case.ts";
import { diffpress, runScript } from "../lib/child.ts";
import type { Cell } from "../lib/table.ts";

/** Latents of 64×64 images: the decoder costs 39 GFLOP a run there. */
const SIZE = 8;
/** Latents of this scaling factor make the residual stream outgrow fp16 before the first norm. */
const HOT = 1e-4;

/** One build of the decoder and what has to come of it. */
interface Subject {
  readonly label: string;
  readonly preset: string;
  readonly targets: readonly string[];
  /** `scaling_factor` of the configuration beside the model: latents are divided by it. */
  readonly scaling: number;
  /** Lowest SQNR of the outputs in dB: below it the format is broken, not coarse. */
  readonly floor: number;
  /** Fewest nodes that have to stay fp32. */
  readonly islands: number;
}

const SUBJECTS: readonly Subject[] = [
  { label: "fp16", preset: "fp16", targets: ["cpu-x64", "webgpu"], scaling: 1, floor: 50, islands: 0 },
  { label: "fp16, hot latents", preset: "fp16", targets: ["webgpu"], scaling: HOT, floor: 50, islands: 1 },
  { label: "w8", preset: "w8", targets: ["cpu-x64", "webgpu"], scaling: 1, floor: 25, islands: 0 },
];

/** The model in a folder of its own with a configuration beside it. */
function withConfig(model: string, folder: string, scaling: number): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, "sd-vae-decoder.onnx");
  linkSync(model, path);
  linkSync(`${model}_data`, `${path}_data`);
  writeFileSync(join(dirname(path), "config.json"), JSON.stringify({ scaling_factor: scaling }));
  return path;
}

function islandsOf(t: TargetReport): number {
  return t.passes
    .flatMap((p) => p.decisions)
    .filter((d) => d.rule.startsWith("f32-island"))
    .reduce((n, d) => n + (d.count ?? 1), 0);
}

/** Formats of a component that is not sampled: the VAE decoder on the CPU, and as a half-precision graph with islands. */
export const vaeFormats: BenchCase = {
  name: "vae-formats",
  title: "formats of the 0.20 GB SD VAE decoder, outputs beside fp32",
  needs: ["skeletons/sd-vae-decoder.onnx", "skeletons/fill.mjs"],
  disk: 1.5e9,
  memory: 4e9,
  async run({ scratch, say }) {
    const filled = await scratch.skeleton("sd-vae-decoder");
    const rows: Cell[][] = [];
    const checks: Check[] = [];
    const commands: string[] = [];
    for (const s of SUBJECTS) {
      say(`${s.label}: compiling and comparing`);
      const source = withConfig(filled, scratch.fresh("vae"), s.scaling);
      const out = scratch.fresh("vae-build");
      const shape = `batch_size=1,height=${SIZE},width=${SIZE}`;
      const args = ["--preset", s.preset, "--target", s.targets.join(), "--shape", shape];
      const { seconds, peakBytes } = await diffpress(["compile", source, ...args, "-o", out]);
      commands.push(`diffpress compile sd-vae-decoder.onnx ${args.join(" ")} -o OUT`);
      const report = reportIn(out);
      for (const [target, t] of Object.entries(report.targets)) {
        const { bytes, fidelity } = t.components[0]!;
        const { value } = await runScript<{ loadSeconds: number; finite: boolean }>("run-once.ts", {
          model: join(out, target, "model.onnx"),
          threads: 1,
          dims: {},
        });
        const sqnr = fidelity?.sqnr ?? Number.NEGATIVE_INFINITY;
        const islands = islandsOf(t);
        const took: Cell[] = [value.loadSeconds, seconds, peakBytes / 2 ** 20];
        rows.push([s.label, target, bytes.after / 1e6, islands, sqnr.toFixed(1), ...took]);
        const atLeast = (name: string, found: number, limit: number, unit: string): void => {
          checks.push({
            name: `${s.label} for ${target}, ${name}`,
            value: found,
            relation: ">=",
            limit,
            unit,
          });
        };
        atLeast("outputs", sqnr, s.floor, "dB");
        atLeast("loads and is finite", value.finite ? 1 : 0, 1, "");
        if (s.islands > 0) atLeast("fp32 islands", islands, s.islands, "nodes");
      }
      scratch.drop(out);
      scratch.drop(dirname(source));
    }
    return {
      columns: [
        "build",
        "target",
        "MB",
        "fp32 island nodes",
        "outputs SQNR dB",
        "load s",
        "compile s (its targets)",
        "compile peak MiB",
      ],
      rows,
      checks,
      commands,
      notes: [
        "Random weights of realistic scale and seeded latents: the figures say that the formats work on this graph, not how a trained decoder fares.",
        `Hot latents: the same decoder with a scaling factor of ${HOT} in its configuration, so that values before the first norm outgrow fp16 and have to stay fp32.`,
      ],
    };
  },
};
