import { join } from "node:path";
import type { TargetReport } from "../../src/index.ts";
import { compileWith, reportIn } from "../lib/build.ts";
import type { BenchCase, BenchContext, Check } from "../lib/case.ts";
import type { Cell } from "../lib/table.ts";
import { TRAINED, type Trained } from "./shapes.ts";

/** dB that must be left on every target. */
interface Least {
  readonly mean: number;
  readonly worst: number;
}

/** What is built for every target, and what must be left of the output there. */
const BUILDS: readonly {
  readonly preset: string;
  readonly least: Readonly<Record<string, Least>>;
}[] = [
  {
    preset: "exact",
    least: { "cifar-unet": { mean: 80, worst: 80 }, "cifar-dit": { mean: 80, worst: 80 } },
  },
  {
    preset: "fp16",
    least: { "cifar-unet": { mean: 50, worst: 45 }, "cifar-dit": { mean: 50, worst: 30 } },
  },
  // Integers where a target has them, 8-bit weights elsewhere: as much as is asked of the CPU build.
  {
    preset: "balanced",
    least: { "cifar-unet": { mean: 35, worst: 24 }, "cifar-dit": { mean: 33, worst: 20 } },
  },
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

async function compileAll(context: BenchContext, t: Trained, preset: string) {
  const out = context.scratch.fresh(`${t.name}-all-${preset}`);
  const made = await compileWith({
    source: join(context.models, t.name),
    out,
    preset,
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
      for (const { preset, least } of BUILDS) {
        context.say(`${t.name}: ${preset} for all targets`);
        const { report, command } = await compileAll(context, t, preset);
        commands.push(command);
        const ids = Object.entries(report.targets);
        const own = ids.map(([id, r]) => rowOf(t, preset, id, r));
        rows.push(...own);
        const rejects = own.reduce((n, row) => n + (row[7] as number), 0);
        const lowest = (what: "sqnrMean" | "sqnrWorst"): number =>
          Math.min(...ids.map(([, r]) => r.fidelity?.[what] ?? Number.NEGATIVE_INFINITY));
        const name = `${t.name} ${preset}`;
        checks.push(
          { name: `${name}, targets built`, value: ids.length, relation: ">=", limit: 12, unit: "" },
          { name: `${name}, rejects`, value: rejects, relation: "<=", limit: 0, unit: "" },
          {
            name: `${name}, mean SQNR`,
            value: lowest("sqnrMean"),
            relation: ">=",
            limit: least[t.name]!.mean,
            unit: "dB",
          },
          {
            name: `${name}, worst step`,
            value: lowest("sqnrWorst"),
            relation: ">=",
            limit: least[t.name]!.worst,
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
        "Fidelity on this machine's CPU, 4 seeds. Builds for other devices are computed as they are written: Q/DQ in float, every half-precision value rounded, sums in fp32. Kernels that sum in half precision, as on WebGPU, do worse (see the WebGPU case).",
      ],
    };
  },
};
