import { type Diagnostic, diagnostic } from "../diagnostics/index.ts";
import type { ComponentCheck, TargetReport } from "../report/types.ts";
import type { TargetCheck } from "../targets/check/types.ts";

/** A component's model with what its target's checker says of it. */
export interface Checked {
  readonly component: string;
  readonly check: TargetCheck;
}

/** A check as the report holds it. */
export function componentCheck({ component, check }: Checked): ComponentCheck {
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
    findings: [...lines.values()],
    verdicts: check.verdicts,
    partitions: check.partitions,
    flopsShare: check.flops?.share ?? null,
  };
}

/** Every node that runs beside the accelerator. */
export function leaving(checked: readonly Checked[]): NonNullable<TargetReport["leavesAccelerator"]> {
  return checked.flatMap(({ component, check }) =>
    check.nodes
      .filter((n) => n.verdict === "leaves")
      .map((n) => ({ component, node: n.node, op: n.op, why: n.why ?? "" })),
  );
}

/** A warning for each build that its target would refuse. */
export function rejections(targets: ReadonlyMap<string, TargetReport>): Diagnostic[] {
  const out: Diagnostic[] = [];
  for (const [target, { checks }] of targets)
    for (const { component, findings } of checks)
      for (const { rule, severity, why, nodes } of findings)
        if (severity === "reject")
          out.push(
            diagnostic("TARGET_REJECTS", { target, component, rule, why, nodes }) as unknown as Diagnostic,
          );
  return out;
}
