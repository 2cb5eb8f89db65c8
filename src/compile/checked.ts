import { basename } from "node:path";
import { type Diagnostic, diagnostic } from "../diagnostics/index.ts";
import type { Model, ValueId } from "../ir/graph.ts";
import type { ComponentCheck, TargetReport } from "../report/types.ts";
import type { TargetCheck } from "../targets/check/types.ts";
import type { WrittenComponent } from "./build.ts";
import { checkWritten, type FileCheck, type WrittenCheck } from "./check.ts";

/** What a target's checker says of one written graph. */
export interface CheckedGraph {
  /** File name where the component has several graphs; `null` for a single model. */
  readonly graph: string | null;
  readonly check: FileCheck;
}

/** A graph of a component with what its target's checker says of it. */
export interface Checked extends CheckedGraph {
  readonly component: string;
}

/** Largest magnitudes over the calibration trajectory by name, from those by value of the model that was written. */
export function magnitudesIn(
  model: Model,
  magnitudes: ReadonlyMap<ValueId, number>,
): ReadonlyMap<string, number> {
  const named = new Map<string, number>();
  for (const [id, most] of magnitudes) {
    const value = model.graph.find(id);
    if (value !== undefined) named.set(value.name, most);
  }
  return named;
}

/** Checks every graph of a written component; `shape` holds the lengths it is run at. */
export async function checkGraphs(
  written: WrittenComponent,
  pathOf: (file: string) => string,
  how: Omit<WrittenCheck, "path">,
): Promise<readonly CheckedGraph[]> {
  const out: CheckedGraph[] = [];
  for (const file of Object.keys(written.models)) {
    const check = await checkWritten({ ...how, path: pathOf(file) });
    out.push({ graph: written.set === null ? null : basename(file), check });
  }
  return out;
}

/** A check as the report holds it. */
export function componentCheck({ component, graph, check }: Checked): ComponentCheck {
  const lines = new Map<
    string,
    { rule: string; severity: TargetCheck["findings"][number]["severity"]; why: string; nodes: string[] }
  >();
  for (const { rule, severity, why, node } of check.findings) {
    const key = `${rule} ${why}`;
    const line = lines.get(key) ?? { rule, severity, why, nodes: [] };
    lines.set(key, line);
    if (node !== "") line.nodes.push(node);
  }
  return {
    component,
    graph,
    findings: [...lines.values()],
    verdicts: check.verdicts,
    partitions: check.partitions,
    flopsShare: check.flops?.share ?? null,
  };
}

/** Every node that runs beside the accelerator, once where several graphs of a component have it. */
export function leaving(checked: readonly Checked[]): NonNullable<TargetReport["leavesAccelerator"]> {
  const found = new Map<string, NonNullable<TargetReport["leavesAccelerator"]>[number]>();
  for (const { component, check } of checked)
    for (const [i, { node, op, verdict, why }] of check.nodes.entries()) {
      if (verdict !== "leaves") continue;
      const key = JSON.stringify([component, node === "" ? i : node, op, why]);
      if (!found.has(key)) found.set(key, { component, node, op, why: why ?? "" });
    }
  return [...found.values()];
}

/** A warning for each build that its target would refuse, once for all graphs with the same fault. */
export function rejections(targets: ReadonlyMap<string, TargetReport>): Diagnostic[] {
  const out = new Map<string, Diagnostic>();
  for (const [target, { checks }] of targets)
    for (const { component, findings } of checks)
      for (const { rule, severity, why, nodes } of findings) {
        if (severity !== "reject") continue;
        const details = { target, component, rule, why, nodes };
        out.set(JSON.stringify(details), diagnostic("TARGET_REJECTS", details) as unknown as Diagnostic);
      }
  return [...out.values()];
}
