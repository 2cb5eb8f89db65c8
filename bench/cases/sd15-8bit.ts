import type { Fidelity } from "../../src/report/types.ts";
import { build, reportIn } from "../lib/build.ts";
import type { BenchCase, BenchContext, CaseResult } from "../lib/case.ts";
import type { Dims } from "../lib/feeds.ts";
import { interleave } from "../lib/pair.ts";
import { wrapUnet } from "../lib/wrap.ts";
import { latents } from "./shapes.ts";

/** What is built and timed: SD 1.5 in the case itself, something small when the code is tried out. */
interface LargeBuild {
  /** Pipeline folder to compile: without a schedule nothing could be calibrated. */
  readonly source: string;
  /** The original denoiser. */
  readonly original: string;
  readonly component: string;
  readonly preset: string;
  readonly dims: Dims;
  readonly runs: number;
  readonly limits: { readonly speed: number; readonly peakGB: number };
}

const fidelityOf = (out: string): Fidelity | null => {
  const report = reportIn(out);
  return report.targets["cpu-x64"]!.fidelity;
};

/** Compiles, then times original and build in one interleaved run with two threads. */
async function timeLargeBuild({ scratch, say }: BenchContext, o: LargeBuild): Promise<CaseResult> {
  say(`compiling ${o.preset}`);
  const made = await build({
    source: o.source,
    out: scratch.fresh("sd15-8bit"),
    preset: o.preset,
    shape: o.dims,
    component: o.component,
    recipe: "bench/recipes/few-steps.yaml",
    verify: true,
  });
  const fidelity = fidelityOf(made.out);
  say("timing, runs alternate");
  const r = await interleave({ ...o, build: made.model, threads: 2, warmup: 1 });
  scratch.drop(made.out);
  const s = r.speedup;
  return {
    columns: [
      "preset",
      "output GB",
      "compile s",
      "compile peak GB",
      "original s",
      "build s",
      "speedup [95 %]",
      "runs",
      "peak GB of both sessions",
      "SQNR mean / worst of 2 steps",
    ],
    rows: [
      [
        o.preset,
        made.bytes / 1e9,
        made.measured.seconds,
        made.measured.peakBytes / 1e9,
        r.original,
        r.build,
        `${s.median.toFixed(3)} [${s.low.toFixed(3)}, ${s.high.toFixed(3)}]`,
        r.runs,
        r.peakBytes / 1e9,
        fidelity === null ? "–" : `${fidelity.sqnrMean.toFixed(1)} / ${fidelity.sqnrWorst.toFixed(1)} dB`,
      ],
    ],
    checks: [
      { name: "speedup", value: s.median, relation: ">=", limit: o.limits.speed, unit: "× original" },
      {
        name: "compile peak",
        value: made.measured.peakBytes / 1e9,
        relation: "<=",
        limit: o.limits.peakGB,
        unit: "GB",
      },
    ],
    commands: [made.command],
    notes: [
      "Random weights of realistic scale, random conditions, calibrated on one trajectory of four steps: the speed is what counts, fidelity only shows that nothing is broken.",
    ],
  };
}

/** The 8-bit CPU build of a model of everyday size, calibrated on a few steps. */
export const sd15At8Bits: BenchCase = {
  name: "sd15-8bit",
  title: "8-bit SD 1.5 UNet at 32×32, batch 2, two threads",
  needs: ["skeletons/sd15-unet.onnx", "skeletons/fill.mjs"],
  disk: 9e9,
  memory: 16e9,
  large: true,
  async run(context) {
    const original = await context.scratch.skeleton("sd15-unet");
    const source = wrapUnet({
      model: original,
      folder: context.scratch.fresh("sd15-pipeline"),
      channels: 4,
      sampleSize: 32,
      sequence: [77, 768],
    });
    return await timeLargeBuild(context, {
      source,
      original,
      component: "unet",
      preset: "balanced",
      dims: latents(32),
      runs: 12,
      limits: { speed: 1.5, peakGB: 12 },
    });
  },
};
