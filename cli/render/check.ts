import type { FileCheck, TargetCheck } from "../../src/index.ts";
import { estimateText, slowestTable } from "./estimate.ts";
import { count, paint, time } from "./format.ts";
import { table } from "./table.ts";

/** Nodes that are named for one finding; the others are counted. */
const NAMED = 4;

const COLOUR = { reject: "red", slow: "yellow", numeric: "yellow" } as const;

/** Findings of one rule that say the same of different nodes, on one line. */
function findingLines(check: TargetCheck): string[] {
  const groups = new Map<string, { head: string; nodes: string[] }>();
  for (const f of check.findings) {
    const head = `${paint(COLOUR[f.severity], f.severity)} ${f.rule}: ${f.why}`;
    const group = groups.get(head) ?? { head, nodes: [] };
    if (f.node !== "") group.nodes.push(f.node);
    groups.set(head, group);
  }
  return [...groups.values()].flatMap(({ head, nodes }) => {
    if (nodes.length === 0) return [`  ${head}`];
    const more = nodes.length > NAMED ? ` and ${count(nodes.length - NAMED)} more` : "";
    return [`  ${head}`, `    ${nodes.slice(0, NAMED).join(", ")}${more}`];
  });
}

/** The estimate, and what it takes for granted; without one, what is missing. */
function estimateLine({ estimate, verdicts }: FileCheck): string {
  if (estimate === null) return "no estimate: lengths are unknown, give them with --shape";
  const away =
    verdicts.leaves === 0
      ? ""
      : `; ${count(verdicts.leaves)} nodes that leave the accelerator count as if they ran on it`;
  return `estimate: ${estimateText(estimate)}${away}`;
}

/** Checks as text: a line per target, then what was found, then every node where that is asked for. */
export function renderChecks(checks: readonly FileCheck[], nodes: boolean): string {
  const head = [
    "target",
    "rejects",
    "slow",
    "numeric",
    "quantized",
    "float",
    "leaves",
    "partitions",
    "FLOPs on it",
    "estimate",
  ];
  const rows = checks.map((c) => [
    c.target,
    ...[c.counts.reject, c.counts.slow, c.counts.numeric].map(count),
    ...[c.verdicts.quantized, c.verdicts.float, c.verdicts.leaves, c.partitions].map(count),
    c.flops === null ? "–" : `${(100 * c.flops.share).toFixed(1)} %`,
    c.estimate === null ? "–" : time(c.estimate.seconds),
  ]);
  const align = head.map((_, i): "left" | "right" => (i === 0 ? "left" : "right"));
  const lines = [table(head, rows, align)];
  for (const c of checks) {
    lines.push("", c.target, ...findingLines(c), `  ${estimateLine(c)}`);
    if (nodes && c.estimate !== null) lines.push("", slowestTable(c.estimate));
    if (nodes) {
      const each = c.nodes.map((n) => [n.node, n.op, n.verdict, n.why ?? ""]);
      lines.push("", table(["node", "operator", c.target, ""], each));
    }
  }
  return lines.join("\n");
}
