import { fail } from "../diagnostics/index.ts";
import { findPass } from "../passes/index.ts";
import type { Pass } from "../passes/pass.ts";
import type { PlannedPass } from "./plan.ts";

/** Work on weights in the order it can be done in, with why nothing of it may come later. */
const STAGES: readonly { readonly of: (p: Pass) => boolean; readonly why: string }[] = [
  {
    of: (p) => p.family === "prune",
    why: "removing channels changes every weight that reads them, and what was made of those weights before would no longer fit",
  },
  {
    of: (p) => p.family === "factorize" || p.family === "share",
    why: "it needs the float weights as they were trained: factors know nothing of zeros or integers that were put in before",
  },
  {
    of: (p) => p.family === "sparsify",
    why: "zeros are put into float weights, and those that are integers already stay as they are",
  },
  {
    of: (p) => p.name === "quantize-static" || p.name === "quantize-dynamic",
    why: "integer arithmetic is for layers whose weights are still float",
  },
  {
    of: (p) => p.name === "quantize-weights" || p.name === "allocate-bits",
    why: "the output is corrected for what the weights are in the end",
  },
  { of: (p) => p.name === "correct-output", why: "" },
];

/**
 * Fails with PASS_ORDER when a pass comes after one it has to come before: prune, factorize and share, sparsify,
 * integer arithmetic, weight formats, output correction. Passes that are none of these may stand anywhere.
 */
export function checkOrder(passes: readonly PlannedPass[]): void {
  let latest: { readonly stage: number; readonly pass: string } | null = null;
  for (const { pass } of passes) {
    const known = findPass(pass);
    const stage = known === undefined ? -1 : STAGES.findIndex((s) => s.of(known));
    if (stage < 0) continue;
    if (latest !== null && stage < latest.stage)
      fail("PASS_ORDER", { pass, after: latest.pass, why: STAGES[stage]!.why });
    latest = { stage, pass };
  }
}
