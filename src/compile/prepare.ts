import { resolvePass } from "../passes/index.ts";
import { resolveTargets } from "../targets/index.ts";
import type { Target } from "../targets/target.ts";
import { checkMeasurable } from "./budgets.ts";
import { type Plan, plan } from "./plan.ts";
import { resolveRecipe } from "./recipe/resolve.ts";
import type { ResolvedRecipe, Stage } from "./recipe/types.ts";
import { completeOptions } from "./recipe/validate.ts";
import { type BuildSource, openSource, type SourceOptions } from "./source.ts";
import type { BuildChoices } from "./types.ts";

/** Target of a build when neither the recipe nor the caller names one. */
const DEFAULT_TARGETS = ["cpu-x64"];

/** A build that has been thought through: input read, recipe resolved, plan made. No weight was read. */
export interface Prepared {
  readonly source: BuildSource;
  readonly recipe: ResolvedRecipe;
  readonly targets: readonly Target[];
  readonly plan: Plan;
}

const completed = ({ name, options }: Stage): Stage => ({
  name,
  options: completeOptions(resolvePass(name), options, "recipe"),
});

/** Opens the input, resolves the recipe and plans. Errors: those of the three. */
export async function prepare(
  path: string,
  choices: BuildChoices,
  options: SourceOptions = {},
): Promise<Prepared> {
  const asked = choices.targets === undefined ? null : resolveTargets(choices.targets).map((t) => t.id);
  const resolved = resolveRecipe(choices.recipe ?? null, {
    preset: choices.preset ?? null,
    targets: asked,
    defaultTargets: DEFAULT_TARGETS,
    ...(choices.shape !== undefined && { shape: choices.shape }),
  });
  // With every default spelled out, a lock keeps its meaning when defaults change.
  const entries = [...resolved.components.entries].map(
    ([name, s]) => [name, s.kind === "own" ? { ...s, stages: s.stages.map(completed) } : s] as const,
  );
  const recipe: ResolvedRecipe = {
    ...resolved,
    stages: resolved.stages.map(completed),
    components: { ...resolved.components, entries: new Map(entries) },
  };
  const source = await openSource(path, options);
  const targets = resolveTargets([...recipe.targets.keys()]);
  const verify = choices.verify !== false;
  checkMeasurable(
    recipe.budgets,
    !verify
      ? "verification is switched off"
      : source.pipeline.scheduler === null
        ? "the input has no scheduler to sample with"
        : null,
  );
  const components = source.components.map((c) => c.info);
  return { source, recipe, targets, plan: plan({ recipe, components, targets, verify }) };
}
