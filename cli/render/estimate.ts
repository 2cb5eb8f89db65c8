import type { Estimate } from "../../src/index.ts";
import { bytes, flops, percent, time } from "./format.ts";
import { table } from "./table.ts";

/** What an estimate comes to and what it waits for, then where it comes from. */
export function estimateText({ seconds, bounds, basis }: Estimate): string {
  const parts = Object.entries(bounds)
    .filter(([, s]) => s > 0)
    .sort((a, b) => b[1] - a[1])
    .map(([bound, s]) => `${bound} ${percent(s, seconds)}`);
  return `${time(seconds)} a run, not measured: ${parts.join(", ")} (${basis})`;
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
