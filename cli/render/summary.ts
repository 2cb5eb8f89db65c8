import type { BudgetResult, BuildPreview, Plan, Report, SplitBuild, TargetReport } from "../../src/index.ts";
import { estimateText } from "./estimate.ts";
import { bytes, count, decibel, flops, paint, percent, seconds, time } from "./format.ts";
import { table } from "./table.ts";

const MORE = 8;

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

/** Equal reasons once, with how many nodes and the first names. */
function downgradeLines(id: string, t: TargetReport): string[] {
  const groups = new Map<string, { nodes: string[]; count: number; text: string }>();
  for (const d of t.downgrades) {
    const change = d.from !== undefined && d.to !== undefined ? `${d.from} → ${d.to}` : d.rule;
    const text = d.why === undefined ? change : `${change}: ${d.why}`;
    const group = groups.get(text) ?? { nodes: [], count: 0, text };
    group.count += d.count ?? 1;
    if (d.node !== "") group.nodes.push(d.node);
    groups.set(text, group);
  }
  const lines = [...groups.values()].map((g) => {
    const where =
      g.count === 1 && g.nodes.length === 1 ? ` (${g.nodes[0]})` : g.count > 1 ? ` (${g.count} nodes)` : "";
    return `${paint("yellow", "downgraded")} ${id}: ${g.text}${where}`;
  });
  return lines.length > MORE
    ? [...lines.slice(0, MORE), `… and ${lines.length - MORE} more kinds in the report`]
    : lines;
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
    const denoiser = t.components.reduce((a, b) => (b.bytes.before > a.bytes.before ? b : a));
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
  const extra: string[] = [];
  for (const [id, t] of Object.entries(report.targets)) {
    extra.push(...splitLines(id, t), ...downgradeLines(id, t));
    if (t.leavesAccelerator !== null && t.leavesAccelerator.length > 0)
      extra.push(
        `${paint("yellow", "leaves the accelerator")} ${id}: ${count(t.leavesAccelerator.length)} nodes`,
      );
    const { name, estimate } = t.components.reduce((x, y) => (y.bytes.before > x.bytes.before ? y : x));
    if (estimate !== null)
      extra.push(`${paint("gray", "estimate")} ${id}: ${name} ${estimateText(estimate)}`);
    for (const n of t.notes) extra.push(`${paint("gray", "note")} ${id}: ${n}`);
  }
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

/** A plan and what its passes would choose from, as text. */
export function renderPreview({ plan, passes }: BuildPreview): string {
  const found = passes.flatMap((p) => [
    "",
    `${p.pass} on ${p.component} for ${p.target}`,
    ...p.lines.map((l) => (l.subject === "" ? `  ${l.what}` : `    ${l.subject}: ${l.what}`)),
  ]);
  return [renderPlan(plan), ...found].join("\n");
}

/** A plan as text: what runs once, then what runs for each target. */
function renderPlan(plan: Plan): string {
  const lines: string[] = [];
  const step = (p: { pass: string; options: object; from: string }): string => {
    const options = Object.keys(p.options).length === 0 ? "" : ` ${JSON.stringify(p.options)}`;
    return `    ${p.pass}${options}${p.from === "recipe" ? "" : `  (${p.from})`}`;
  };
  for (const c of plan.components) {
    lines.push(`${c.component}${c.lossy ? "" : "  (exact passes only)"}`);
    if (c.shared.length > 0) lines.push("  once for all targets", ...c.shared.map(step));
    for (const t of c.targets) {
      lines.push(`  ${t.target}`);
      lines.push(...(t.passes.length === 0 ? ["    nothing more"] : t.passes.map(step)));
    }
  }
  lines.push(plan.verify ? "then verify each denoiser build" : "no verification");
  return lines.join("\n");
}
