import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parseDocument } from "yaml";
import { nearestName } from "../../calibrate/nearest.ts";
import { fail } from "../../diagnostics/index.ts";
import { findPreset, presets } from "../presets/index.ts";
import type { Recipe } from "./types.ts";
import { validateRecipe } from "./validate.ts";

/** Recipes are written by hand: a megabyte is a mistake, not a recipe. */
const MAX_RECIPE_BYTES = 1 << 20;
/** YAML aliases may expand to far more than the file; a recipe has next to none. */
const MAX_ALIASES = 100;

/** Reads and checks a recipe text, YAML or JSON (which YAML contains). `file` names it in messages. */
export function parseRecipe(text: string, file: string): Recipe {
  const doc = parseDocument(text, { uniqueKeys: true, prettyErrors: true });
  const problem = doc.errors[0];
  if (problem !== undefined)
    fail("RECIPE_UNREADABLE", { file, problem: problem.message.split("\n")[0]!.replace(/:$/, "") });
  let value: unknown;
  try {
    value = doc.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (cause) {
    fail("RECIPE_UNREADABLE", { file, problem: String((cause as Error).message) }, cause);
  }
  return validateRecipe(value ?? {}, file);
}

function readRecipe(path: string): Recipe {
  let text: string;
  try {
    if (statSync(path).size > MAX_RECIPE_BYTES)
      fail("RECIPE_UNREADABLE", { file: path, problem: `larger than ${MAX_RECIPE_BYTES} bytes` });
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if (!(cause instanceof Error && "code" in cause) || cause.name === "DiffpressError") throw cause;
    fail("RECIPE_UNREADABLE", { file: path, problem: `cannot be read (${String(cause.code)})` }, cause);
  }
  return parseRecipe(text, path);
}

/** A recipe with where it came from, for messages; `chain` in {@link recipeChain} goes from the base up. */
export interface Layer {
  readonly origin: string;
  readonly recipe: Recipe;
}

/** A preset by name. Errors: PRESET_UNKNOWN. */
export function presetRecipe(name: string): Recipe {
  const preset = findPreset(name);
  if (preset === undefined) {
    const known = presets.map((p) => p.name);
    fail("PRESET_UNKNOWN", { preset: name, known, nearest: nearestName(name, known) });
  }
  return preset.recipe;
}

/**
 * A recipe and everything it extends, base first. `source` is a path or a recipe object; `preset` replaces what the
 * outermost recipe extends. Errors: RECIPE_UNREADABLE, RECIPE_UNKNOWN_KEY, RECIPE_INVALID, RECIPE_CYCLE, PRESET_UNKNOWN.
 */
export function recipeChain(source: string | Recipe | null, preset: string | null): Layer[] {
  const layers: Layer[] = [];
  const seen: string[] = [];
  let next: { recipe: Recipe; origin: string; folder: string | null } | null = null;
  if (source === null) {
    const name = preset ?? "exact";
    next = { recipe: presetRecipe(name), origin: name, folder: null };
    seen.push(name);
  } else if (typeof source === "string") {
    const path = resolve(source);
    next = { recipe: readRecipe(path), origin: source, folder: dirname(path) };
    seen.push(path);
  } else {
    next = { recipe: validateRecipe(source, "recipe"), origin: "recipe", folder: "." };
  }
  while (next !== null) {
    layers.unshift({ origin: next.origin, recipe: next.recipe });
    const outermost = layers.length === 1 && source !== null;
    const base: string | undefined = outermost && preset !== null ? preset : next.recipe.extends;
    if (base === undefined) break;
    const { folder }: { folder: string | null } = next;
    const isPreset: boolean = findPreset(base) !== undefined || folder === null || !/[./\\]/.test(base);
    const key: string = isPreset ? base : resolve(folder ?? ".", base);
    if (seen.includes(key)) fail("RECIPE_CYCLE", { chain: [...seen, key] });
    seen.push(key);
    next = isPreset
      ? { recipe: presetRecipe(base), origin: base, folder: null }
      : { recipe: readRecipe(key), origin: base, folder: dirname(key) };
  }
  return layers;
}
