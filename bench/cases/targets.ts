import { join } from "node:path";
import type { Recipe, TargetReport } from "../../src/index.ts";
import { compileWith, reportIn } from "../lib/build.ts";
import type { BenchCase, BenchContext, Check } from "../lib/case.ts";
import type { Cell } from "../lib/table.ts";
import { TRAINED, type Trained } from "./shapes.ts";

/** What is built for every target, and what must be left of the output there. */
const BUILDS: readonly { readonly label: string; readonly recipe: Recipe; readonly least: number }[] = [
  { label: "exact", recipe: { extends: "exact" }, least: 80 },
  { label: "fp16", recipe: { extends: "fp16" }, least: 50 },
  // Integers where a target has them, 8-bit weights elsewhere; fewer samples than the preset, for twelve targets.
  { label: "balanced", recipe: { extends: "balanced", calibration: { samples: 4 } }, least: 30 },
];

function rowOf(t: Trained, label: string, id: string, r: TargetReport): Cell[] {
  const rejects = r.checks.flatMap((c) => c.findings).filter((f) => f.severity === "reject").length;
  const integers = r.passes
    .filter((p) => p.name === "quantize-static")
    .flatMap((p) => p.decisions)
    .filter((d) => d.kind === "applied" && d.to !== undefined && /^a\d+w8$/.test(d.to))
    .reduce((n, d) => n + (d.count ?? 1), 0);
  return [
    t.name,
    label,
    id,
    r.bytes.after / 1e6,
    r.fidelity?.sqnrMean ?? "–",
    r.fidelity?.sqnrWorst ?? "–",
    integers,
    rejects,
    r.leavesAccelerator?.length ?? "–",
  ];
}

async function compileAll(context: BenchContext, t: Trained, recipe: Recipe, label: string) {
  const out = context.scratch.fresh(`${t.name}-all-${label}`);
  const made = await compileWith({
    source: join(context.models, t.name),
    out,
    recipe,
    target: "all",
    verify: true,
  });
  const report = reportIn(out);
  context.scratch.drop(out);
  return { report, command: made.command };
}

/** One compile for every target: what the checker says, and what is left of the output in arithmetic as written. */
export const targetsCase: BenchCase = {
  name: "targets",
  title: "one compile, every target",
  needs: TRAINED.map((t) => t.name),
  async run(context) {
    const rows: Cell[][] = [];
    const checks: Check[] = [];
    const commands: string[] = [];
    for (const t of TRAINED)
      for (const { label, recipe, least } of BUILDS) {
        context.say(`${t.name}: ${label} for all targets`);
        const { report, command } = await compileAll(context, t, recipe, label);
        commands.push(command);
        const ids = Object.entries(report.targets);
        const own = ids.map(([id, r]) => rowOf(t, label, id, r));
        rows.push(...own);
        const rejects = own.reduce((n, row) => n + (row[7] as number), 0);
        const fidelities = ids.map(([, r]) => r.fidelity?.sqnrMean ?? Number.NEGATIVE_INFINITY);
        const name = `${t.name} ${label}`;
        checks.push(
          { name: `${name}, targets built`, value: ids.length, relation: ">=", limit: 12, unit: "" },
          { name: `${name}, rejects`, value: rejects, relation: "<=", limit: 0, unit: "" },
          {
            name: `${name}, mean SQNR`,
            value: Math.min(...fidelities),
            relation: ">=",
            limit: least,
            unit: "dB",
          },
        );
      }
    return {
      columns: [
        "pipeline",
        "build",
        "target",
        "MB",
        "mean dB",
        "worst dB",
        "layers on integers",
        "rejects",
        "leave the accelerator",
      ],
      rows,
      checks,
      commands,
      notes: [
        "Fidelity on this machine's CPU, 4 seeds: builds for other devices in float arithmetic as they are written, so what their kernels round differently is not in it.",
      ],
    };
  },
};
