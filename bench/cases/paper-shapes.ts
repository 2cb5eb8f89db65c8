import { join } from "node:path";
import type { Recipe } from "../../src/index.ts";
import { build } from "../lib/build.ts";
import type { BenchCase, BenchContext, Check } from "../lib/case.ts";
import { type Judged, judgeModels } from "../lib/fidelity.ts";
import { JUDGED_COLUMNS, judgedRow } from "../lib/judged-row.ts";
import type { Cell } from "../lib/table.ts";
import { CLAIMS, type Claim, RECIPES, type ShapeRecipe, TARGETS, TIMED } from "./paper-recipes.ts";
import { TRAINED, type Trained } from "./shapes.ts";

/** A gain that counts, in dB. */
const HELPS = 0.5;

async function buildAll(t: Trained, context: BenchContext) {
  const made = new Map<string, { model: string; out: string; command: string }>();
  for (const [label, recipe] of Object.entries(RECIPES) as [ShapeRecipe, Recipe][]) {
    context.say(`${t.name}: ${label}`);
    const out = context.scratch.fresh(`${t.name}-shape`);
    const source = join(context.models, t.name);
    const { model, command } = await build({
      source,
      out,
      component: t.component,
      recipe,
      ...(TARGETS[label] !== undefined && { target: TARGETS[label] }),
    });
    made.set(label, { model, out, command });
  }
  return made;
}

/** Every build judged in one process, those whose speed is compared timed in one interleaved run. */
async function judgeAll(
  t: Trained,
  models: ReadonlyMap<string, string>,
  context: BenchContext,
): Promise<Map<string, Judged>> {
  const pipeline = join(context.models, t.name);
  const found = new Map<string, Judged>();
  const timed = [...models.keys()].filter((l) => TIMED.some((x) => x === l));
  const rest = [...models.keys()].filter((l) => !timed.includes(l));
  for (const [labels, runs] of [
    [timed, {}],
    [rest, { runs: 0 }],
  ] as const) {
    context.say(`${t.name}: judging ${labels.length} builds`);
    const judged = await judgeModels({ pipeline, models: labels.map((l) => models.get(l)!), ...runs });
    for (const [i, l] of labels.entries()) found.set(l, judged[i]!);
  }
  return found;
}

const figure = (j: Judged, of: Claim["figure"]): number =>
  of === "worst" ? j.fidelity!.sqnrWorst : j.fidelity!.sqnrMean;

function verdict(gain: number, claim: Claim): string {
  if (gain >= HELPS) return "helps";
  return gain <= -HELPS ? `harms: ${claim.otherwise}` : `does not help: ${claim.otherwise}`;
}

/** Gains of one method as a row, and as a check where it has to help. */
function settle(t: Trained, claim: Claim, judged: ReadonlyMap<string, Judged>) {
  const [on, off] = [judged.get(claim.on)!, judged.get(claim.off)!];
  const gain = figure(on, claim.figure) - figure(off, claim.figure);
  const row: Cell[] = [
    t.name,
    `${claim.name}: ${claim.on} over ${claim.off}, ${claim.figure === "worst" ? "worst step" : "mean"}`,
    `${gain >= 0 ? "+" : ""}${gain.toFixed(2)} dB: ${verdict(gain, claim)}`,
    ...new Array<Cell>(JUDGED_COLUMNS.length - 3).fill(""),
  ];
  const check: Check = {
    name: `${t.name}, ${claim.name}: gain of ${claim.on} over ${claim.off}`,
    value: gain,
    relation: ">=",
    limit: HELPS,
    unit: "dB",
  };
  return { row, checks: claim.must ? [check] : [] };
}

/** What the papers claim, each on and off on the trained models. */
export const paperShapes: BenchCase = {
  name: "paper-shapes",
  title: "claims of the papers on and off, 24 judging seeds",
  needs: TRAINED.map((t) => t.name),
  async run(context) {
    const [rows, gains]: [Cell[][], Cell[][]] = [[], []];
    const checks: Check[] = [];
    const commands = new Set<string>();
    for (const t of TRAINED) {
      const made = await buildAll(t, context);
      const judged = await judgeAll(t, new Map([...made].map(([l, m]) => [l, m.model])), context);
      for (const [label, m] of made) {
        context.scratch.drop(m.out);
        commands.add(m.command);
        rows.push(judgedRow(t.name, label, judged.get(label)!));
      }
      for (const claim of CLAIMS) {
        const { row, checks: more } = settle(t, claim, judged);
        gains.push(row);
        checks.push(...more);
      }
    }
    return {
      columns: JUDGED_COLUMNS,
      rows: [...rows, ...gains],
      checks,
      commands: [...commands],
      notes: [
        "24 seeds, 20 DDIM steps, guidance 2.5. 8-bit rows: every layer that is not guarded takes part (no fidelity floor, no estimate of speed), weights of the others stay float.",
        "A gain below 0.5 dB does not help, one below −0.5 dB harms; checks are on claims that have to hold.",
        "Speed where it is shown: batch 16, one thread, interleaved with the original.",
      ],
    };
  },
};
