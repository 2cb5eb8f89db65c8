import { dirname } from "node:path";
import type { Verdict } from "./verdict.ts";

const nameOf = (v: Verdict): string => (dirname(v.file) === "." ? v.file : dirname(v.file));

/** Reasons without what differs from model to model, so that they can be counted. */
function kindOf(reason: string): string {
  return reason
    .replace(/^onnxruntime refused \S+: /, "")
    .replace(/ Expected a model and inputs that the pinned onnxruntime can run.*$/, "")
    .replace(/\b(?:model|node)_?name:? ?'?[^'\s]*'?/gi, "")
    .replace(/\/\S*\.(?:onnx|cc|h)(?::\d+)?/g, "")
    .slice(0, 160);
}

function grouped(verdicts: readonly Verdict[], reason: (v: Verdict) => string | null): string {
  const groups = new Map<string, string[]>();
  for (const v of verdicts) {
    const r = reason(v);
    if (r === null) continue;
    const kind = kindOf(r);
    const list = groups.get(kind);
    if (list === undefined) groups.set(kind, [nameOf(v)]);
    else list.push(nameOf(v));
  }
  const rows = [...groups].sort((a, b) => b[1].length - a[1].length || (a[0] < b[0] ? -1 : 1));
  return rows.map(([kind, names]) => `  ${names.length} x ${kind}\n    ${names.join(", ")}\n`).join("");
}

/** The result of a run as text. */
export function summary(verdicts: readonly Verdict[]): string {
  const count = (test: (v: Verdict) => boolean): number => verdicts.filter(test).length;
  const total = verdicts.length;
  const lines = [
    `models                      ${total}`,
    `read                        ${count((v) => v.read)}`,
    `round trip equal            ${count((v) => v.roundTrip)}`,
    `output types as declared    ${count((v) => v.shapes === "equal")}`,
    `  with input data known     ${count((v) => v.shapesWithData === "equal")}`,
    `  contradicting             ${count((v) => v.shapes === "conflict" || v.shapesWithData === "conflict")}`,
    `run by the runtime          ${count((v) => v.notRun === null)}`,
    `compared after exact passes ${count((v) => v.compared > 0)}`,
    `outputs left to chance      ${count((v) => v.random)}`,
    `runtime off the reference   ${count((v) => v.runtimeDiffers !== null)}`,
    `wrong                       ${count((v) => v.wrong.length > 0)}`,
  ];
  const sections = [
    ["What the runtime cannot load or run:", grouped(verdicts, (v) => v.notRun)],
    [
      "Where the runtime itself differs from the reference outputs:",
      grouped(verdicts, (v) => v.runtimeDiffers),
    ],
    ["Output types less known than declared, even with the input data:", grouped(verdicts, (v) => v.unknown)],
    [
      "Wrong:",
      verdicts
        .filter((v) => v.wrong.length > 0)
        .map((v) => `  ${nameOf(v)}\n${v.wrong.map((w) => `    ${w}\n`).join("")}`)
        .join(""),
    ],
  ] as const;
  return `${lines.join("\n")}\n${sections.map(([head, body]) => (body === "" ? "" : `\n${head}\n${body}`)).join("")}`;
}
