import { join } from "node:path";
import type { BenchCase, BenchContext, Check } from "../lib/case.ts";
import { buildAndJudge, decisionsOf, type Judged } from "../lib/quality.ts";
import type { Cell } from "../lib/table.ts";
import { TRAINED, type Trained } from "./shapes.ts";
import { BUILDS, CLAIMS, curve, ORDER, RATIOS } from "./sparse-recipes.ts";

const SAMPLES = 4;
const SEEDS = 4;

/** Bytes of `sparsify-weights`' storage line: what a bit mask or sparse initializers would take, of what is written. */
function storage(j: Judged, component: string): string {
  const line = decisionsOf(j.report, component, "sparsify-weights").find((d) => d.rule === "storage");
  return line?.why?.split(", and neither")[0]?.replace("zeros are stored densely, ", "") ?? "";
}

async function judgeAll(t: Trained, context: BenchContext): Promise<Map<string, Judged>> {
  const found = new Map<string, Judged>();
  for (const [label, passes] of Object.entries(BUILDS)) {
    const out = context.scratch.fresh(`${t.name}-sparse`);
    const source = join(context.models, t.name);
    const j = await buildAndJudge({
      source,
      component: t.component,
      out,
      passes,
      samples: SAMPLES,
      seeds: SEEDS,
    });
    context.scratch.drop(out);
    context.say(`${t.name}, ${label}: ${j.mean.toFixed(2)} dB mean, ${j.worst.toFixed(2)} dB worst`);
    found.set(label, j);
  }
  return found;
}

/** The SQNR of every way over the share of zeros. */
function plotOf(t: Trained, judged: ReadonlyMap<string, Judged>) {
  return {
    name: t.name,
    title: `${t.name}: fidelity over the share of zeros`,
    x: "zeros (%)",
    y: "mean teacher-forced SQNR (dB)",
    series: ORDER.map((way) => ({
      name: way,
      points: RATIOS.map((r): [number, number] => [100 * r, judged.get(curve(way, r))!.mean]),
    })),
  };
}

/** Claims about zeros and palettes, measured on the trained models. */
export const sparseShapes: BenchCase = {
  name: "sparse-shapes",
  title: `zeros, palettes and zeros with integers, ${SEEDS} judging seeds`,
  needs: TRAINED.map((t) => t.name),
  async run(context) {
    const [rows, gains]: [Cell[][], Cell[][]] = [[], []];
    const checks: Check[] = [];
    const plots = [];
    for (const t of TRAINED) {
      const judged = await judgeAll(t, context);
      plots.push(plotOf(t, judged));
      for (const [label, j] of judged)
        rows.push([t.name, label, j.bytes / 1e6, j.mean, j.worst, j.psnr, storage(j, t.component)]);
      for (const c of CLAIMS) {
        const gain = judged.get(c.on)!.mean - judged.get(c.off)!.mean;
        const verdict = gain > 0 ? "holds" : `fails: ${c.otherwise}`;
        gains.push([t.name, c.name, "–", `${gain >= 0 ? "+" : ""}${gain.toFixed(2)}`, "–", "–", verdict]);
        if (c.must)
          checks.push({ name: `${t.name}, ${c.name}`, value: gain, relation: ">=", limit: 0, unit: "dB" });
      }
    }
    return {
      columns: ["model", "build or claim", "MB", "mean dB", "worst dB", "PSNR dB", "storage or verdict"],
      rows: [...rows, ...gains],
      checks,
      commands: ["npm run bench -- --only sparse-shapes"],
      notes: [
        `${SAMPLES} calibration seeds, ${SEEDS} others judge; 20 DDIM steps, guidance 2.5. Guarded layers stay dense and, in rows with 2 or 4 bits, first and last layers float. 3 bits have no store in ONNX and no row.`,
        "Rows with zeros alone have the bytes of the exact build: zeros are written out.",
      ],
      plots,
    };
  },
};
