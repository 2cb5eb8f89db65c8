import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BuildPreview, Recipe } from "../../src/index.ts";
import { build } from "../lib/build.ts";
import type { BenchCase, CaseResult, Check } from "../lib/case.ts";
import { diffpress } from "../lib/child.ts";

const SKELETONS = ["sd15-unet", "sdxl-unet", "dit-xl-2", "sd-vae-decoder"];

const PLAN_SECONDS = 60;
const PLAN_GB = 1.5;
const REAL_GB = 4;

/** Pruning by magnitude and plain SVD: nothing is sampled. */
const RECIPE: Recipe = {
  extends: "exact",
  passes: [
    "clean",
    {
      "prune-structures": { ratio: 0.15, score: "magnitude", repair: false, allocate: "uniform" },
    },
    { "factorize-linear": { budget: { ratio: 0.7 }, weighting: "none", score: false } },
  ],
};

const groupsIn = (p: BuildPreview, pass: string): number =>
  p.passes
    .filter((x) => x.pass === pass)
    .reduce((n, x) => n + x.lines.filter((l) => l.subject !== "").length, 0);

/** What shrinking passes plan on full-size networks, and what they make of one. */
export const shrinkLarge: BenchCase = {
  name: "shrink-large",
  title: "pruning and factorization of full-size networks without samples",
  needs: SKELETONS.map((s) => `skeletons/${s}.onnx`),
  disk: 25e9,
  async run({ scratch, say }): Promise<CaseResult> {
    const rows: CaseResult["rows"][number][] = [];
    const checks: Check[] = [];
    const limit = (name: string, value: number, most: number, unit: string): void => {
      checks.push({ name, value, relation: "<=", limit: most, unit });
    };
    const recipe = join(scratch.fresh("shrink"), "recipe.json");
    mkdirSync(join(recipe, ".."), { recursive: true });
    writeFileSync(recipe, JSON.stringify(RECIPE));
    for (const name of SKELETONS) {
      say(`${name}: dry run`);
      const source = await scratch.skeleton(name);
      const args = ["compile", source, "--recipe", recipe, "--target", "cpu-x64"];
      const run = await diffpress([...args, "--dry-run", "--json"]);
      const preview = JSON.parse(run.stdout) as BuildPreview;
      const gb = run.peakBytes / 1e9;
      rows.push([
        `${name}, dry run`,
        groupsIn(preview, "prune-structures"),
        groupsIn(preview, "factorize-linear"),
        run.seconds,
        gb,
        "",
      ]);
      limit(`${name}, dry run`, run.seconds, PLAN_SECONDS, "s");
      limit(`${name}, dry run, peak RSS`, gb, PLAN_GB, "GB");
    }
    say("sd15-unet: building");
    const source = await scratch.skeleton("sd15-unet");
    const made = await build({
      source,
      out: scratch.fresh("shrunk"),
      recipe: RECIPE,
      // Its largest weight takes 1.4 GB to factor in double precision, above the default budget of 1 GiB.
      extra: ["--max-memory", "2GB"],
    });
    const gb = made.measured.peakBytes / 1e9;
    rows.push(["sd15-unet, built", "", "", made.measured.seconds, gb, made.bytes / 1e9]);
    limit("sd15-unet, built, peak RSS", gb, REAL_GB, "GB");
    scratch.drop(made.out);
    return {
      columns: ["network", "groups to prune", "groups to factor", "s", "peak RSS GB", "output GB"],
      rows,
      checks,
      commands: [
        "diffpress compile sd15-unet.onnx --recipe RECIPE --target cpu-x64 --dry-run --json",
        made.command,
      ],
      notes: [
        "Recipe: structured pruning of 15 % of the operations by magnitude, then plain SVD at 70 % of each layer's operations.",
      ],
    };
  },
};
