import type { Estimate, Report } from "../../src/index.ts";
import { bytes, flops, largest, percent, time } from "./format.ts";
import { table } from "./table.ts";

/** What the time goes to, most of it first. */
function boundsText({ seconds, bounds }: Estimate): string {
  return Object.entries(bounds)
    .filter(([, s]) => s > 0)
    .sort((a, b) => b[1] - a[1])
    .map(([bound, s]) => `${bound} ${percent(s, seconds)}`)
    .join(", ");
}

/** What an estimate comes to and what it waits for, then where it comes from. */
export function estimateText(estimate: Estimate): string {
  return `${time(estimate.seconds)} a run, not measured: ${boundsText(estimate)} (roofline of ${estimate.machine}: ${estimate.basis})`;
}

/** The nodes that should take longest, with what bounds each. */
export function slowestTable({ seconds, slowest }: Estimate): string {
  const rows = slowest.map((n) => [
    n.node,
    n.op,
    time(n.seconds),
    percent(n.seconds, seconds),
    n.bound,
    bytes(n.bytes),
    n.flops === 0 ? "–" : flops(n.flops),
    n.dtype ?? "",
  ]);
  const head = ["slowest by estimate", "operator", "time", "share", "bound by", "moves", "computes", "in"];
  const align = ["left", "left", "right", "right", "left", "right", "right", "left"] as const;
  return table(head, rows, align);
}

/** What the largest component of every build should take and on which machine, then what the rates of these are. */
export function estimateTable(report: Report): string[] {
  const rows: string[][] = [];
  const bases = new Map<string, string[]>();
  for (const [id, t] of Object.entries(report.targets)) {
    const { name, estimate } = largest(t);
    if (estimate === null) continue;
    rows.push([id, name, time(estimate.seconds), boundsText(estimate), estimate.machine]);
    const ids = bases.get(estimate.basis) ?? [];
    bases.set(estimate.basis, ids);
    ids.push(id);
  }
  if (rows.length === 0) return [];
  const head = ["target", "component", "a run, estimated", "waits for", "on"];
  const align = ["left", "left", "right", "left", "left"] as const;
  const legend = [...bases].map(([basis, ids]) => `estimated for ${ids.join(", ")}: ${basis}`);
  return ["", table(head, rows, align, process.stderr), ...legend];
}
