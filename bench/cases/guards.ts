import { join } from "node:path";
import type { StageEntry } from "../../src/compile/recipe/types.ts";
import type { BenchCase, Check } from "../lib/case.ts";
import { buildAndJudge, decisionsOf } from "../lib/quality.ts";
import { TRAINED } from "./shapes.ts";

/** A guard, what it protects from by default, and options that lift it. */
interface Guarded {
  readonly what: string;
  readonly pass: "quantize-weights" | "quantize-static";
  /** Rule of the decision that reports the lifted guard. */
  readonly reported: RegExp;
  readonly standing: Readonly<Record<string, string | number | boolean | null>>;
  readonly lifted: Readonly<Record<string, string | number | boolean | null>>;
}

const ALL = { floor: null, faster: false } as const;

const GUARDS: readonly Guarded[] = [
  {
    what: "time path at 4 bits",
    pass: "quantize-weights",
    reported: /^guard-time-lifted$/,
    standing: { format: "w4" },
    lifted: { format: "w4", sensitive: "none" },
  },
  {
    what: "first and last layer at 4 bits",
    pass: "quantize-weights",
    reported: /^guard-edge-lifted$/,
    standing: { format: "w4" },
    lifted: { format: "w4", edges: "none" },
  },
  {
    what: "edges and time path in 8-bit arithmetic",
    pass: "quantize-static",
    reported: /^guard-/,
    standing: ALL,
    lifted: { ...ALL, guards: false },
  },
  {
    what: "weights that saturate without VNNI",
    pass: "quantize-static",
    reported: /^saturation$/,
    standing: ALL,
    lifted: { ...ALL, saturation: "none" },
  },
];

/** Guards standing and lifted: what each protects from, and that lifting it is reported. */
export const guards: BenchCase = {
  name: "guards",
  title: "guards standing and lifted, 16 judging seeds",
  needs: TRAINED.map((t) => t.name),
  async run({ models, scratch, say }) {
    const rows: (string | number)[][] = [];
    const checks: Check[] = [];
    for (const t of TRAINED)
      for (const g of GUARDS) {
        const means: number[] = [];
        for (const [state, options] of [
          ["standing", g.standing],
          ["lifted", g.lifted],
        ] as const) {
          say(`${t.name}: ${g.what}, guard ${state}`);
          const out = scratch.fresh(t.name);
          const passes: StageEntry[] = [{ [g.pass]: options }];
          const made = await buildAndJudge({
            source: join(models, t.name),
            component: t.component,
            out,
            passes,
          });
          scratch.drop(out);
          const forced = decisionsOf(made.report, t.component, g.pass).filter(
            (d) => d.kind === "forced" && g.reported.test(d.rule),
          );
          means.push(made.mean);
          rows.push([t.name, g.what, state, forced.length, made.mean, made.worst, made.psnr]);
          checks.push({
            name: `${t.name}, ${g.what}, guard ${state}: layers reported as forced`,
            value: forced.filter((d) => d.why !== undefined).length,
            relation: state === "standing" ? "<=" : ">=",
            limit: state === "standing" ? 0 : 1,
            unit: "",
          });
        }
        checks.push({
          name: `${t.name}, ${g.what}: what the guard keeps`,
          value: means[0]! - means[1]!,
          relation: ">=",
          limit: 0,
          unit: "dB",
        });
      }
    return {
      columns: ["model", "bad case", "guard", "reported layers", "mean dB", "worst dB", "PSNR dB"],
      rows,
      checks,
      commands: ["npm run bench -- --only guards"],
      notes: [
        "Norm parameters are no layers: no option quantizes them. Saturation shows on processors without VNNI only; it is reported on all.",
      ],
    };
  },
};
