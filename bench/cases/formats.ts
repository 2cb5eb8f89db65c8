import { join } from "node:path";
import type { Recipe, TargetReport } from "../../src/index.ts";
import { compileWith, reportIn } from "../lib/build.ts";
import type { BenchCase, BenchContext, Check } from "../lib/case.ts";
import type { Cell } from "../lib/table.ts";
import { TRAINED, type Trained } from "./shapes.ts";

/** What one trajectory is: as much as tells formats apart. */
const STEPS = 4;
const SAMPLES = 4;

type Passes = NonNullable<Recipe["passes"]>;

const recipeOf = (passes: Passes): Recipe => ({
  extends: "exact",
  calibration: { samples: SAMPLES, steps: STEPS },
  verification: { samples: SAMPLES, steps: STEPS },
  passes: ["clean", "split-upsample", ...passes],
});

/** Every layer that the target can run so; nothing stays float because of the damage it does. */
const everywhere = (options: Readonly<Record<string, string | number>> = {}): Passes => [
  { "quantize-static": { floor: null, ...options } },
];

/** One compile: what it is called on each of its targets, and what must be left of the output there. */
interface Formats {
  readonly recipe: Recipe;
  /** Mean dB by target. */
  readonly targets: Readonly<Record<string, { readonly label: string; readonly least: number }>>;
}

const BUILDS: readonly Formats[] = [
  {
    recipe: recipeOf(everywhere({ numbers: "float8" })),
    targets: { tensorrt: { label: "fp8 (E4M3FN) weights and activations", least: 20 } },
  },
  {
    recipe: recipeOf([{ "quantize-weights": { format: "f4" } }]),
    targets: { tensorrt: { label: "NVFP4 weights", least: 25 } },
  },
  {
    recipe: recipeOf(everywhere({ weights: 4 })),
    targets: { "qnn-htp": { label: "LPBQ: 4-bit weights, 16-bit activations", least: 20 } },
  },
  {
    recipe: recipeOf(everywhere({ bits: 8 })),
    targets: { "qnn-htp": { label: "a8w8", least: 25 } },
  },
  {
    recipe: recipeOf(everywhere()),
    targets: {
      "qnn-htp": { label: "a16w8", least: 40 },
      "vitisai:xint8": { label: "xint8: scales that are powers of two", least: 24 },
      "vitisai:a8w8": { label: "a8w8", least: 25 },
      "vitisai:a16w8": { label: "a16w8", least: 38 },
    },
  },
];

/** Layers written on narrow numbers. */
function layersOf(r: TargetReport): number {
  return r.passes
    .filter((p) => p.name === "quantize-static" || p.name === "quantize-weights")
    .flatMap((p) => p.decisions)
    .filter((d) => d.kind === "applied" && /^(a\d+w\d|float8|f4)$/.test(d.to ?? ""))
    .reduce((n, d) => n + (d.count ?? 1), 0);
}

/** What one pipeline shows. */
interface Shown {
  readonly rows: readonly (readonly Cell[])[];
  readonly checks: readonly Check[];
  readonly commands: readonly string[];
}

async function judged(context: BenchContext, t: Trained, f: Formats, k: number) {
  const out = context.scratch.fresh(`${t.name}-formats-${k}`);
  const target = Object.keys(f.targets).join(",");
  const source = join(context.models, t.name);
  const { command } = await compileWith({ source, out, recipe: f.recipe, target, verify: true });
  const report = reportIn(out);
  context.scratch.drop(out);
  return { report, command };
}

function rowOf(t: Trained, id: string, r: TargetReport, label: string): Cell[] {
  const rejects = r.checks.flatMap((c) => c.findings).filter((x) => x.severity === "reject").length;
  const share = (100 * r.bytes.after) / r.bytes.before;
  const { sqnrMean = Number.NEGATIVE_INFINITY, sqnrWorst = "–" } = r.fidelity ?? {};
  return [t.name, id, label, layersOf(r), r.bytes.after / 1e6, share, sqnrMean, sqnrWorst, rejects];
}

async function show(context: BenchContext, t: Trained): Promise<Shown> {
  const rows: Cell[][] = [];
  const checks: Check[] = [];
  const commands: string[] = [];
  for (const [k, f] of BUILDS.entries()) {
    const { report, command } = await judged(context, t, f, k);
    commands.push(command);
    for (const [id, { label, least }] of Object.entries(f.targets)) {
      const row = rowOf(t, id, report.targets[id]!, label);
      rows.push(row);
      const [mean, rejects] = [row[6] as number, row[8] as number];
      const name = `${t.name} ${id} ${label}`;
      context.say(`${name}: ${mean.toFixed(1)} dB`);
      checks.push(
        { name: `${name}, mean SQNR`, value: mean, relation: ">=", limit: least, unit: "dB" },
        { name: `${name}, rejects`, value: rejects, relation: "<=", limit: 0, unit: "" },
      );
    }
  }
  return { rows, checks, commands };
}

/** Number formats that no processor here has, by the arithmetic they stand for. */
export const formats: BenchCase = {
  name: "formats",
  title: "number formats of accelerators on trained networks",
  needs: TRAINED.map((t) => t.name),
  async run(context) {
    // Nothing is timed: both pipelines at once.
    const shown = await Promise.all(TRAINED.map((t) => show(context, t)));
    return {
      columns: [
        "pipeline",
        "target",
        "format",
        "layers",
        "MB",
        "% of original",
        "mean dB",
        "worst dB",
        "rejects",
      ],
      rows: shown.flatMap((s) => s.rows),
      checks: shown.flatMap((s) => s.checks),
      commands: shown.flatMap((s) => s.commands),
      notes: [
        `Fidelity in the arithmetic the graph spells out, ${SAMPLES} seeds of ${STEPS} steps; NVFP4 through the twin that reads its weights in a wider type. Every layer the target takes is in the format: the fidelity floor of the balanced preset is off.`,
      ],
    };
  },
};
