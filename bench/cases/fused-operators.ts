import { join } from "node:path";
import type { Report } from "../../src/index.ts";
import type { Operators } from "../child/operators.ts";
import { build, reportIn } from "../lib/build.ts";
import type { BenchCase, Check } from "../lib/case.ts";
import { runScript } from "../lib/child.ts";
import type { Cell } from "../lib/table.ts";
import { TRAINED } from "./shapes.ts";

const PRESETS = ["balanced", "small", "w4"] as const;

/** Operators that multiply on integers or packed weights, and those that multiply floats. */
const KINDS = {
  conv: /^(com\.microsoft:)?QLinearConv$/,
  product: /^(QLinearMatMul|com\.microsoft:(MatMulIntegerToFloat|DynamicQuantizeMatMul|QGemm))$/,
  packed: /^com\.microsoft:MatMulNBits$/,
  float: /^(Conv|MatMul|Gemm|com\.microsoft:(FusedConv|FusedMatMul|FusedGemm|NhwcFusedConv))$|:Conv$/,
} as const;

type Kind = keyof typeof KINDS;
const KIND_NAMES = Object.keys(KINDS) as Kind[];

function countsOf(ops: Operators["written"]): Record<Kind, number> {
  const count = (kind: Kind): number =>
    Object.entries(ops).reduce((n, [op, c]) => n + (KINDS[kind].test(op) ? c : 0), 0);
  return {
    conv: count("conv"),
    product: count("product"),
    packed: count("packed"),
    float: count("float"),
  };
}

/** Convolutions the report says were put on integers. */
function plannedConvs(report: Report): number {
  return Object.values(report.targets)
    .flatMap((t) => t.passes)
    .filter((p) => p.name === "quantize-static")
    .flatMap((p) => p.decisions)
    .filter((d) => d.kind === "applied" && d.rule === "integer-conv")
    .reduce((n, d) => n + (d.count ?? 1), 0);
}

/** Whether onnxruntime runs what the build planned: nothing planned for integers falls back to floats, unseen. */
export const fusedOperators: BenchCase = {
  name: "fused-operators",
  title: "planned operators and those onnxruntime runs",
  needs: TRAINED.map((t) => t.name),
  async run(context) {
    const rows: Cell[][] = [];
    const checks: Check[] = [];
    const commands: string[] = [];
    for (const t of TRAINED)
      for (const preset of PRESETS) {
        context.say(`${t.name}: ${preset}`);
        const out = context.scratch.fresh(`${t.name}-${preset}`);
        const made = await build({
          source: join(context.models, t.name),
          out,
          component: t.component,
          preset,
        });
        const { value } = await runScript<Operators>("operators.ts", { model: made.model });
        const planned = plannedConvs(reportIn(out));
        context.scratch.drop(out);
        commands.push(made.command);
        const [written, run] = [countsOf(value.written), countsOf(value.run)];
        rows.push([t.name, preset, planned, ...KIND_NAMES.flatMap((k) => [written[k], run[k]])]);
        const off = KIND_NAMES.reduce((n, k) => n + Math.abs(run[k] - written[k]), 0);
        checks.push({
          name: `${t.name} ${preset}, operators that run otherwise than written or planned`,
          value: off + Math.abs(written.conv - planned),
          relation: "<=",
          limit: 0,
          unit: "",
        });
      }
    return {
      columns: [
        "pipeline",
        "preset",
        "integer convolutions planned",
        ...["integer convolutions", "integer products", "packed products", "float products"].flatMap((k) => [
          `${k} written`,
          "run",
        ]),
      ],
      rows,
      checks,
      commands,
      notes: ["Run: the graph of a session with every optimisation of onnxruntime on."],
    };
  },
};
