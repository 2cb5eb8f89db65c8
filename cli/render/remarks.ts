import type { TargetReport } from "../../src/index.ts";
import { count, paint } from "./format.ts";

/** Kinds of downgrades of a target that are listed; the report has the rest. */
const MORE = 8;

type Label = "downgraded" | "leaves the accelerator" | "note";

interface Remark {
  readonly label: Label;
  readonly text: string;
}

const COLOUR = { downgraded: "yellow", "leaves the accelerator": "yellow", note: "gray" } as const;

/** Equal reasons once, with how many nodes, or the one it is about. */
function downgrades(t: TargetReport): Remark[] {
  const groups = new Map<string, { nodes: string[]; count: number }>();
  for (const d of t.downgrades) {
    const change = d.from !== undefined && d.to !== undefined ? `${d.from} → ${d.to}` : d.rule;
    const text = d.why === undefined ? change : `${change}: ${d.why}`;
    const group = groups.get(text) ?? { nodes: [], count: 0 };
    group.count += d.count ?? 1;
    if (d.node !== "") group.nodes.push(d.node);
    groups.set(text, group);
  }
  const all = [...groups].map(([text, g]): Remark => {
    const where =
      g.count === 1 && g.nodes.length === 1 ? ` (${g.nodes[0]})` : g.count > 1 ? ` (${g.count} nodes)` : "";
    return { label: "downgraded", text: `${text}${where}` };
  });
  if (all.length <= MORE) return all;
  const rest = `… and ${all.length - MORE} more kinds in the report`;
  return [...all.slice(0, MORE), { label: "downgraded", text: rest }];
}

/** How many nodes run elsewhere, by operator. */
function leaving(t: TargetReport): Remark[] {
  const found = t.leavesAccelerator ?? [];
  if (found.length === 0) return [];
  const by = new Map<string, number>();
  for (const { op } of found) by.set(op, (by.get(op) ?? 0) + 1);
  const ops = [...by].map(([op, n]) => `${count(n)} ${op}`).join(", ");
  return [{ label: "leaves the accelerator", text: ops }];
}

/** What there is to say about the builds, a line each; one that holds for several targets names them together. */
export function remarks(targets: Readonly<Record<string, TargetReport>>): string[] {
  const said = new Map<string, { remark: Remark; ids: string[] }>();
  const ids = Object.keys(targets);
  for (const [id, t] of Object.entries(targets))
    for (const remark of [
      ...downgrades(t),
      ...leaving(t),
      ...t.notes.map((text): Remark => ({ label: "note", text })),
    ]) {
      const key = `${remark.label}\n${remark.text}`;
      const same = said.get(key) ?? { remark, ids: [] };
      same.ids.push(id);
      said.set(key, same);
    }
  return [...said.values()].map(({ remark, ids: of }) => {
    const who = of.length === ids.length && of.length > 2 ? "all targets" : of.join(", ");
    return `${paint(COLOUR[remark.label], remark.label)} ${who}: ${remark.text}`;
  });
}
