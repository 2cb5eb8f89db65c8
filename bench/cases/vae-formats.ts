import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Report } from "../../src/report/types.ts";
import type { BenchCase, Check } from "../lib/case.ts";
import { diffpress, runScript } from "../lib/child.ts";
import type { Cell } from "../lib/table.ts";

/** Latents of 64×64 images: the decoder costs 39 GFLOP a run there. */
const SIZE = 8;
/** A build this far from fp32 is broken, whatever its format. */
const FLOORS: Readonly<Record<string, number>> = { fp16: 50, w8: 25 };

/** Formats of a component that is not sampled: the VAE decoder on the CPU, and as a half-precision graph with islands. */
export const vaeFormats: BenchCase = {
  name: "vae-formats",
  title: "formats of the 0.20 GB SD VAE decoder, outputs beside fp32",
  needs: ["skeletons/sd-vae-decoder.onnx", "skeletons/fill.mjs"],
  disk: 1.5e9,
  memory: 4e9,
  async run({ scratch, say }) {
    const source = await scratch.skeleton("sd-vae-decoder");
    const rows: Cell[][] = [];
    const checks: Check[] = [];
    const commands: string[] = [];
    for (const [preset, floor] of Object.entries(FLOORS)) {
      const out = scratch.fresh(`vae-${preset}`);
      say(`${preset}: compiling and comparing`);
      const shape = `batch_size=1,height=${SIZE},width=${SIZE}`;
      const args = ["--preset", preset, "--target", "cpu-x64,webgpu", "--shape", shape];
      const { seconds, peakBytes } = await diffpress(["compile", source, ...args, "-o", out]);
      commands.push(`diffpress compile sd-vae-decoder.onnx ${args.join(" ")} -o OUT`);
      const report = JSON.parse(readFileSync(join(out, "report.json"), "utf8")) as Report;
      for (const [target, t] of Object.entries(report.targets)) {
        const component = t.components[0]!;
        const forced = t.passes.flatMap((p) => p.decisions.filter((d) => d.rule.startsWith("f32-island")));
        const islands = forced.reduce((n, d) => n + (d.count ?? 1), 0);
        const { value } = await runScript<{ loadSeconds: number; finite: boolean }>("run-once.ts", {
          model: join(out, target, "model.onnx"),
          threads: 1,
          dims: {},
        });
        const sqnr = component.fidelity?.sqnr ?? Number.NEGATIVE_INFINITY;
        rows.push([
          preset,
          target,
          component.bytes.after / 1e6,
          islands,
          sqnr.toFixed(1),
          component.fidelity?.inputs ?? "–",
          value.loadSeconds,
          seconds,
          peakBytes / 2 ** 20,
        ]);
        const name = `${preset} for ${target}`;
        checks.push({ name: `${name}, outputs`, value: sqnr, relation: ">=", limit: floor, unit: "dB" });
        const finite = value.finite ? 1 : 0;
        checks.push({
          name: `${name} loads and is finite`,
          value: finite,
          relation: ">=",
          limit: 1,
          unit: "",
        });
      }
      scratch.drop(out);
    }
    return {
      columns: [
        "preset",
        "target",
        "MB",
        "fp32 island nodes",
        "outputs SQNR dB",
        "inputs",
        "load s",
        "compile s (both targets)",
        "peak MiB",
      ],
      rows,
      checks,
      commands,
      notes: [
        "Random weights of realistic scale and random latents: the figures say that the formats work on this graph, not how a trained decoder fares.",
      ],
    };
  },
};
