import { join } from "node:path";
import type { Agreement, AgreementInput } from "../child/agreement.ts";
import { build } from "../lib/build.ts";
import type { BenchCase, CaseResult, Check } from "../lib/case.ts";
import { runScript } from "../lib/child.ts";
import type { Cell } from "../lib/table.ts";
import { TRAINED } from "./shapes.ts";

const PRESETS = ["exact", "fp16", "w8", "w4", "balanced", "small"] as const;

/** What sessions of one file may differ by: rounding, far below what any format costs. */
const AGREE_DB = 60;

const TIMESTEPS = [999, 750, 500, 250, 100, 0];

/** Whether what a session's own optimisation makes of a build computes what the file says. */
export const agreement: BenchCase = {
  name: "agreement",
  title: "optimised and unoptimised sessions of the same build",
  needs: TRAINED.map((t) => t.name),
  async run(context): Promise<CaseResult> {
    const rows: Cell[][] = [];
    const checks: Check[] = [];
    const commands: string[] = [];
    for (const t of TRAINED)
      for (const preset of PRESETS) {
        context.say(`${t.name}: ${preset}`);
        const out = context.scratch.fresh(`${t.name}-${preset}`);
        const source = join(context.models, t.name);
        const made = await build({ source, out, component: t.component, preset });
        const input: AgreementInput = { model: made.model, dims: t.dims, timesteps: TIMESTEPS };
        const { value } = await runScript<Agreement>("agreement.ts", input);
        context.scratch.drop(out);
        rows.push([t.name, preset, value.unoptimised, value.precise, value.nudged]);
        commands.push(made.command);
        for (const [name, of] of [
          ["unoptimised", value.unoptimised],
          ["without saturation", value.precise],
        ] as const)
          checks.push({
            name: `${t.name} ${preset}, agreement with the session that is ${name}`,
            value: of,
            relation: ">=",
            limit: AGREE_DB,
            unit: "dB",
          });
      }
    return {
      columns: ["pipeline", "preset", "unoptimised dB", "without saturation dB", "inputs one ulp away dB"],
      rows,
      checks,
      commands,
      notes: [
        `SQNR of the default session's output against: graph optimisation off; \`session.x64quantprecision\`, whose products cannot saturate; itself on inputs that differ by at most one unit in the last place. Seeded inputs at timesteps ${TIMESTEPS.join(", ")}; 200 stands for equal to the bit.`,
      ],
    };
  },
};
