import { join } from "node:path";
import type { StageEntry } from "../../src/compile/recipe/types.ts";
import type { BenchCase, Check } from "../lib/case.ts";
import { buildAndJudge, decisionsOf } from "../lib/quality.ts";
import { TRAINED } from "./shapes.ts";

/** Weight formats that are corrected. */
const BUILDS: readonly (readonly [string, StageEntry])[] = [
  ["w4", { "quantize-weights": { format: "w4" } }],
  ["w4, gptq", { "quantize-weights": { format: "w4", method: "gptq" } }],
  ["w8", { "quantize-weights": { format: "w8" } }],
];

const CORRECTIONS: readonly (readonly [string, readonly StageEntry[]])[] = [
  ["off", []],
  ["ptqd, guided", ["correct-output"]],
  ["ptqd, halves", [{ "correct-output": { on: "halves" } }]],
  ["mmse, guided", [{ "correct-output": { estimator: "mmse" } }]],
];

/** Output correction per timestep on and off. */
export const outputCorrection: BenchCase = {
  name: "output-correction",
  title: "output correction per timestep (PTQD) on and off, 16 judging seeds",
  needs: ["cifar-unet", "cifar-dit"],
  async run({ models, scratch, say }) {
    const rows: (string | number)[][] = [];
    const checks: Check[] = [];
    for (const t of TRAINED)
      for (const [build, stage] of BUILDS) {
        let off = 0;
        for (const [correction, more] of CORRECTIONS) {
          const out = scratch.fresh(t.name);
          const source = join(models, t.name);
          const made = await buildAndJudge({ source, component: t.component, out, passes: [stage, ...more] });
          scratch.drop(out);
          const verdict = decisionsOf(made.report, t.component, "correct-output").at(-1);
          if (correction === "off") off = made.mean;
          else
            checks.push({
              name: `${t.name} ${build}, ${correction}: gain in mean SQNR`,
              value: made.mean - off,
              relation: ">=",
              // It must never harm; whether it helps is in the table.
              limit: -0.01,
              unit: "dB",
            });
          say(`${t.name}, ${build}, correction ${correction}: ${made.mean.toFixed(2)} dB`);
          rows.push([
            t.name,
            build,
            correction,
            made.bytes,
            made.mean,
            made.mean - off,
            made.worst,
            made.psnr,
            verdict === undefined ? "" : `${verdict.kind}: ${verdict.why ?? ""}`,
          ]);
        }
      }
    return {
      columns: [
        "model",
        "weights",
        "correction",
        "file bytes",
        "mean dB",
        "gain dB",
        "worst dB",
        "PSNR dB",
        "decision",
      ],
      rows,
      checks,
      commands: ["npm run bench -- --only output-correction"],
      notes: [
        "Gain: against the same weights without correction, on seeds that neither fitted nor were held out.",
      ],
    };
  },
};
