import type { BudgetResult, Report, SplitBuild, TargetReport } from "../../src/index.ts";
import { estimateTable } from "./estimate.ts";
import { bytes, count, decibel, flops, largest, paint, percent, seconds, time } from "./format.ts";
import { remarks } from "./remarks.ts";
import { table } from "./table.ts";

function fidelity(t: TargetReport): string[] {
  const f = t.fidelity;
  if (f === null) return ["–", "–", "–", "–"];
  return [decibel(f.sqnrMean), decibel(f.sqnrWorst), decibel(f.psnr.median), f.ssim.median.toFixed(3)];
}

function budgetLine(b: BudgetResult): string {
  const verdict = b.met ? paint("green", "met") : paint("red", "not met");
  const round = (x: number): string => (Number.isInteger(x) ? count(x) : x.toFixed(2));
  return `budget ${b.name} on ${b.target}: ${round(b.value)}, limit ${round(b.limit)}: ${verdict}`;
}

const JUDGED_ON = { conditions: "conditions", latents: "sampled latents", seeded: "random inputs" } as const;

/** Components that are not sampled: what their builds' own outputs came to. */
function componentTable(report: Report): string[] {
  const rows = Object.entries(report.targets).flatMap(([id, t]) =>
    t.components.flatMap((c) =>
      c.fidelity === null
        ? []
        : [
            [
              id,
              c.name,
              bytes(c.bytes.after),
              percent(c.bytes.after, c.bytes.before),
              decibel(c.fidelity.sqnr),
              `${count(c.fidelity.sets)} ${JUDGED_ON[c.fidelity.inputs]}`,
            ],
          ],
    ),
  );
  if (rows.length === 0) return [];
  const head = ["target", "component", "size", "of original", "outputs SQNR", "judged on"];
  const align = ["left", "left", "right", "right", "right", "left"] as const;
  return ["", table(head, rows, align, process.stderr)];
}

const SIZE = {
  bytes: bytes,
  flops: flops,
  latency: (s: number) => `${time(s)} estimated`,
} as const;

/** How error budgets were split: what was taken, and what each of its passes costs alone. */
function splitLines(id: string, t: TargetReport): string[] {
  return t.components.flatMap(({ name, split }) => {
    if (split === null) return [];
    const size = (b: SplitBuild): string => SIZE[split.per](b.size);
    const taken = split.builds[split.chosen]!;
    const verdict = split.met ? paint("green", "kept") : paint("red", "not to be kept");
    const given = (b: SplitBuild) => Object.entries(b.options).filter(([, o]) => o !== null);
    const alone = given(taken).flatMap(([pass, options]) => {
      const own = split.builds.find(
        (b) => given(b).length === 1 && JSON.stringify(b.options[pass]) === JSON.stringify(options),
      );
      return own === undefined
        ? []
        : [`  ${pass} ${JSON.stringify(options)}: alone ${decibel(own.measured)}, ${size(own)}`];
    });
    return [
      `error budget ${decibel(split.wanted)} of ${name} on ${id}, ${count(split.builds.length)} builds: ${decibel(taken.measured)}, ${size(taken)} of ${size(split.builds[0]!)}: ${verdict}`,
      ...alone,
      ...(split.basis === null ? [] : [`  times are estimated: ${split.basis}`]),
    ];
  });
}

/** What a build came to, for people: a row per target, then downgrades, notes and budgets, then where things lie. */
export function renderSummary(report: Report, out: string): string {
  const rows = Object.entries(report.targets).map(([id, t]) => {
    const denoiser = largest(t);
    return [
      id,
      bytes(t.bytes.after),
      percent(t.bytes.after, t.bytes.before),
      `${count(denoiser.nodes.before)} → ${count(denoiser.nodes.after)}`,
      t.flops === null ? "–" : flops(t.flops.after),
      t.latency === null ? "–" : `${(t.latency.before / t.latency.after).toFixed(2)}×`,
      ...fidelity(t),
    ];
  });
  const head = [
    "target",
    "size",
    "of original",
    "nodes",
    "per step",
    "speed",
    "SQNR mean",
    "worst",
    "PSNR",
    "SSIM",
  ];
  const align = head.map((_, i): "left" | "right" => (i === 0 ? "left" : "right"));
  const lines = [table(head, rows, align, process.stderr), ...componentTable(report)];
  lines.push(...estimateTable(report));
  const extra = [
    ...Object.entries(report.targets).flatMap(([id, t]) => splitLines(id, t)),
    ...remarks(report.targets),
  ];
  for (const d of report.diagnostics) extra.push(`${paint("yellow", d.severity)} ${d.code}: ${d.message}`);
  for (const b of report.budgets) extra.push(budgetLine(b));
  if (extra.length > 0) lines.push("", ...extra);
  lines.push(
    "",
    `${paint("green", "done")} in ${seconds(report.seconds)}, peak memory ${bytes(report.peakBytes)}`,
  );
  lines.push(`build   ${out}`, `report  ${out}/report.json`);
  return lines.join("\n");
}
