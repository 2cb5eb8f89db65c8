import { fail } from "../../diagnostics/index.ts";
import type { Json } from "../../ir/tensor.ts";
import type { Bindings } from "../../passes/pass.ts";
import { lockedComponents, mergeComponents, type NamedComponent, NO_COMPONENTS } from "./components.ts";
import { type Layer, recipeChain } from "./load.ts";
import { expandOverrides, overlay } from "./overlay.ts";
import type { Recipe, ResolvedRecipe, Stage, StageEntry, TargetOverride } from "./types.ts";

/** Tensors below this stay in `model.onnx`: shapes, scalars and norm parameters, which some runtimes want inline. */
const INLINE_BELOW = 1024;
/** The usual page size, so that a runtime may map tensors straight from the file. */
const ALIGN = 4096;

/** Stages of one target: the common ones with the target's overrides. */
export function stagesFor(recipe: ResolvedRecipe, target: string): Stage[] {
  const overrides = expandOverrides(recipe.targets.get(target)?.passes ?? {});
  const stages: Stage[] = [];
  const used = new Set<string>();
  for (const s of recipe.stages) {
    const o = overrides.get(s.name);
    used.add(s.name);
    if (o === null) continue;
    stages.push(o === undefined ? s : { name: s.name, options: { ...s.options, ...o } });
  }
  for (const [name, options] of overrides)
    if (!used.has(name) && options !== null) stages.push({ name, options });
  return stages;
}

function mergeTargets(
  base: ReadonlyMap<string, TargetOverride>,
  over: Recipe["targets"],
): Map<string, TargetOverride> {
  const out = new Map(base);
  for (const [id, o] of Object.entries(over ?? {})) {
    if (o === null) {
      out.delete(id);
      continue;
    }
    const old = out.get(id);
    out.set(id, {
      passes: { ...old?.passes, ...o.passes },
      shape: { ...old?.shape, ...o.shape },
    });
  }
  return out;
}

const EMPTY: ResolvedRecipe = {
  seed: 0,
  components: NO_COMPONENTS,
  shape: {},
  calibration: {},
  verification: {},
  stages: [],
  split: null,
  targets: new Map(),
  budgets: {},
  output: { inlineBelow: INLINE_BELOW, align: ALIGN, names: "keep", integers: "keep" },
};

function layer(base: ResolvedRecipe, { recipe: r }: Layer): ResolvedRecipe {
  return {
    seed: r.seed ?? base.seed,
    components: mergeComponents(base.components, r.components),
    shape: { ...base.shape, ...r.shape },
    calibration: { ...base.calibration, ...r.calibration },
    verification: { ...base.verification, ...r.verification },
    stages: overlay(base.stages, r.passes ?? []),
    split: r.split === undefined ? base.split : r.split,
    targets: mergeTargets(base.targets, r.targets),
    budgets: r.budgets === null ? {} : { ...base.budgets, ...r.budgets },
    output: { ...base.output, ...r.output },
  };
}

/** What the caller lays over a recipe: command-line flags. */
export interface RecipeOverlay {
  readonly preset?: string | null;
  /** Builds exactly these targets, whatever the recipe lists. */
  readonly targets?: readonly string[] | null;
  readonly shape?: Bindings;
  /** Built when neither the recipe nor `targets` names any. */
  readonly defaultTargets?: readonly string[];
}

/**
 * A recipe (path, object or `null` for the preset alone) with everything it extends and the caller's flags merged.
 * Errors: those of reading it, and RECIPE_INVALID when no target is named anywhere.
 */
export function resolveRecipe(source: string | Recipe | null, over: RecipeOverlay = {}): ResolvedRecipe {
  const merged = recipeChain(source, over.preset ?? null).reduce(layer, EMPTY);
  const ids = over.targets ?? (merged.targets.size === 0 ? over.defaultTargets : null) ?? null;
  const targets =
    ids === null ? merged.targets : new Map(ids.map((id) => [id, merged.targets.get(id) ?? {}]));
  if (targets.size === 0)
    fail("RECIPE_INVALID", {
      file: typeof source === "string" ? source : "recipe",
      problems: [{ at: "targets", problem: "names no target; add one or pass --target" }],
    });
  return { ...merged, targets, shape: { ...merged.shape, ...over.shape } };
}

/**
 * The resolved recipe as a recipe again, with every component of the input spelled out: what `recipe.lock.yaml` holds.
 * Building with it gives the same build.
 */
export function lockOf(recipe: ResolvedRecipe, components: readonly NamedComponent[]): Recipe {
  const bare = (o: TargetOverride): TargetOverride => ({
    ...(o.passes !== undefined && Object.keys(o.passes).length > 0 && { passes: o.passes }),
    ...(o.shape !== undefined && Object.keys(o.shape).length > 0 && { shape: o.shape }),
  });
  return {
    seed: recipe.seed,
    components: lockedComponents(recipe.components, components),
    shape: recipe.shape,
    calibration: recipe.calibration,
    verification: recipe.verification,
    passes: recipe.stages.map((s): StageEntry => ({ [s.name]: s.options as { [key: string]: Json } })),
    ...(recipe.split !== null && { split: recipe.split }),
    targets: Object.fromEntries([...recipe.targets].map(([id, o]) => [id, bare(o)])),
    budgets: recipe.budgets,
    output: recipe.output,
  };
}
