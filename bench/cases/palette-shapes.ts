import { join } from "node:path";
import type { StageEntry } from "../../src/compile/recipe/types.ts";
import type { BenchCase } from "../lib/case.ts";
import { buildAndJudge, type Judged } from "../lib/quality.ts";
import type { Cell } from "../lib/table.ts";
import { TRAINED } from "./shapes.ts";

const SAMPLES = 4;
const SEEDS = 4;

const quantize = (options: Readonly<Record<string, unknown>>): StageEntry =>
  ({ "quantize-weights": { edges: "f32", ...options } }) as StageEntry;

/** Grids and codebooks of one width, from few bytes beside the codes to many. */
const FORMS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "grid, a scale per 128": { method: "gptq", block: 128, symmetric: true },
  "grid, a scale and zero point per 128": { method: "gptq", block: 128 },
  "grid, a scale and zero point per 32": { method: "gptq", block: 32 },
  "codebook per tensor": { method: "palette" },
  "codebook per 4 outputs": { method: "palette", codebookOutputs: 4 },
};

/** The forms that come closest in bytes. */
const EQUAL = ["codebook per tensor", "grid, a scale per 128"] as const;

/** Codebooks against linear grids at equal bits, plotted over bytes. */
export const paletteShapes: BenchCase = {
  name: "palette-shapes",
  title: `codebooks and linear grids at equal bits, ${SEEDS} judging seeds`,
  needs: TRAINED.map((t) => t.name),
  async run(context) {
    const rows: Cell[][] = [];
    const plots = [];
    for (const t of TRAINED) {
      const series = new Map<string, [number, number][]>();
      for (const format of ["w2", "w4"]) {
        const found = new Map<string, Judged>();
        for (const [name, options] of Object.entries(FORMS)) {
          const out = context.scratch.fresh(`${t.name}-palette`);
          const j = await buildAndJudge({
            source: join(context.models, t.name),
            component: t.component,
            out,
            passes: [quantize({ format, ...options })],
            samples: SAMPLES,
            seeds: SEEDS,
          });
          context.scratch.drop(out);
          context.say(`${t.name}, ${format}, ${name}: ${j.mean.toFixed(2)} dB`);
          found.set(name, j);
          rows.push([t.name, `${format.slice(1)} bits, ${name}`, j.bytes / 1e6, j.mean, j.worst, j.psnr]);
          const kind = name.startsWith("grid") ? "linear grids" : "codebooks";
          series.set(kind, [...(series.get(kind) ?? []), [j.bytes / 1e6, j.mean]]);
        }
        const [codebook, grid] = EQUAL.map((name) => found.get(name)!);
        const gain = codebook!.mean - grid!.mean;
        const bytes = (100 * (codebook!.bytes / grid!.bytes - 1)).toFixed(1);
        rows.push([
          t.name,
          `${format.slice(1)} bits: codebook over grid at ${bytes} % of its bytes`,
          "–",
          `${gain >= 0 ? "+" : ""}${gain.toFixed(2)}`,
          "–",
          "–",
        ]);
      }
      plots.push({
        name: t.name,
        title: `${t.name}: fidelity over the size of the build`,
        x: "MB",
        y: "mean teacher-forced SQNR (dB)",
        series: [...series].map(([name, points]) => ({
          name,
          points: points.sort((a, b) => a[0] - b[0]),
        })),
      });
    }
    return {
      columns: ["model", "weights", "MB", "mean dB", "worst dB", "PSNR dB"],
      rows,
      checks: [],
      commands: ["npm run bench -- --only palette-shapes"],
      notes: [
        `${SAMPLES} calibration seeds, ${SEEDS} others judge. Grids are fitted by GPTQ; codebooks by k-means weighted with the diagonal of the Gram matrix and error feedback.`,
        "A codebook of a tensor adapts to the shape of its weights but not to their scale by output; a scale per block of inputs does, for 0.13 to 0.63 bits a weight.",
      ],
      plots,
    };
  },
};
