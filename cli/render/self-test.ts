import type { SelfTestResult } from "../../src/index.ts";
import { decibel, paint } from "./format.ts";

const out = process.stdout;

/** What a self-test found, as text: a line per model, then what is wrong. */
export function renderSelfTest(r: SelfTestResult): string {
  const lines = r.components.flatMap((c) => [
    `${c.passed ? paint("green", "passed", out) : paint("red", "failed", out)} ${c.name}`,
    ...c.files.map((f) => `  ${f.path}: ${f.problem}`),
    ...c.outputs.map(
      (o) =>
        `  ${o.name}: ${o.sqnr === null ? "no numbers" : decibel(o.sqnr)}, at least ${decibel(o.limit)}${o.met ? "" : " expected"}`,
    ),
    ...(c.twin.length === 0
      ? []
      : [`  ran as its twin: no CPU kernel for ${c.twin.join(", ")}, standard operators in their place`]),
    ...(c.problem === null ? [] : [`  not run: ${c.problem}`]),
  ]);
  return [`${r.target} on provider ${r.provider}`, ...lines].join("\n");
}
