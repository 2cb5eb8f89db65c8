import type { BuildPreview, Plan } from "../../src/index.ts";

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
