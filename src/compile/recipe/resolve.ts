import { fail } from "../../diagnostics/index.ts";
import type { Json } from "../../ir/tensor.ts";
import { passGroups } from "../../passes/index.ts";
import type { Bindings } from "../../passes/pass.ts";
import { type Layer, recipeChain } from "./load.ts";
import type { Recipe, ResolvedRecipe, Stage, StageEntry, StageOptions, TargetOverride } from "./types.ts";

/** Tensors below this stay in `model.onnx`: shapes, scalars and norm parameters, which some runtimes want inline. */
const INLINE_BELOW = 1024;
/** The usual page size, so that a runtime may map tensors straight from the file. */
const ALIGN = 4096;

interface Named {
  readonly name: string;
  readonly options: StageOptions;
}

/** One entry as a list of passes: a group stands for its members. */
function expand(entry: StageEntry): Named[] {
  const [name, options] = typeof entry === "string" ? [entry, {} as StageOptions] : Object.entries(entry)[0]!;
  const group = passGroups[name];
  return group === undefined
    ? [{ name, options }]
    : group.map((member) => ({ name: member, options: options === null ? null : {} }));
}

function expandOverrides(overrides: { readonly [name: string]: StageOptions }): Map<string, StageOptions> {
  const out = new Map<string, StageOptions>();
  for (const [name, options] of Object.entries(overrides))
    for (const one of expand({ [name]: options })) out.set(one.name, one.options);
  return out;
}

/** Lays a list of passes over another: the k-th entry of a name changes the k-th the base has, others are put in. */
function overlay(base: readonly Stage[], entries: readonly StageEntry[]): Stage[] {
  const out: (Stage | null)[] = [...base];
  const met = new Map<string, number>();
  let after = -1;
  for (const { name, options } of entries.flatMap(expand)) {
    const nth = met.get(name) ?? 0;
    met.set(name, nth + 1);
    let seen = 0;
    const at = out.findIndex((s) => s !== null && s.name === name && seen++ === nth);
    if (at >= 0) {
      const old = out[at]!;
      out[at] = options === null ? null : { name, options: { ...old.options, ...options } };
      if (options === null) met.set(name, nth);
      after = Math.max(after, at);
    } else if (options !== null) {
      const place = after < 0 ? out.length : after + 1;
      out.splice(place, 0, { name, options });
      after = place;
    }
  }
  return out.filter((s): s is Stage => s !== null);
}

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
  components: null,
  shape: {},
  calibration: {},
  verification: {},
  stages: [],
  targets: new Map(),
  budgets: {},
  output: { inlineBelow: INLINE_BELOW, align: ALIGN },
};

function layer(base: ResolvedRecipe, { recipe: r }: Layer): ResolvedRecipe {
  return {
    seed: r.seed ?? base.seed,
    components: r.components ?? base.components,
    shape: { ...base.shape, ...r.shape },
    calibration: { ...base.calibration, ...r.calibration },
    verification: { ...base.verification, ...r.verification },
    stages: overlay(base.stages, r.passes ?? []),
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

/** The resolved recipe as a recipe again: what `recipe.lock.yaml` holds. Resolving it gives the same recipe. */
export function lockOf(recipe: ResolvedRecipe, components: readonly string[]): Recipe {
  const bare = (o: TargetOverride): TargetOverride => ({
    ...(o.passes !== undefined && Object.keys(o.passes).length > 0 && { passes: o.passes }),
    ...(o.shape !== undefined && Object.keys(o.shape).length > 0 && { shape: o.shape }),
  });
  return {
    seed: recipe.seed,
    components,
    shape: recipe.shape,
    calibration: recipe.calibration,
    verification: recipe.verification,
    passes: recipe.stages.map((s): StageEntry => ({ [s.name]: s.options as { [key: string]: Json } })),
    targets: Object.fromEntries([...recipe.targets].map(([id, o]) => [id, bare(o)])),
    budgets: recipe.budgets,
    output: recipe.output,
  };
}
