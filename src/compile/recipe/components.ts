import type { ComponentKind } from "../../calibrate/component.ts";
import { nearestName } from "../../calibrate/nearest.ts";
import { fail } from "../../diagnostics/index.ts";
import { overlay } from "./overlay.ts";
import type { ComponentRecipe, ComponentStages, Recipe, ResolvedComponents, StageEntry } from "./types.ts";

/** Every kind a recipe may speak of instead of a component's name. */
export const COMPONENT_KINDS: readonly ComponentKind[] = [
  "denoiser",
  "vae-decoder",
  "vae-encoder",
  "text-encoder",
  "image-encoder",
  "safety-checker",
  "other",
];

/** What a component is known by. */
export interface NamedComponent {
  readonly name: string;
  readonly kind: ComponentKind;
}

/** Without a word in the recipe: the denoiser gets its passes, everything else exact ones only. */
export const NO_COMPONENTS: ResolvedComponents = { only: false, entries: new Map() };

/** Lays what a recipe says of components over what it extends. A plain list replaces everything before it. */
export function mergeComponents(base: ResolvedComponents, over: Recipe["components"]): ResolvedComponents {
  if (over === undefined) return base;
  if (isList(over))
    return { only: true, entries: new Map(over.map((name) => [name, { kind: "recipe" }] as const)) };
  const entries = new Map(base.entries);
  for (const [name, entry] of Object.entries(over)) entries.set(name, laidOver(entries.get(name), entry));
  return { only: base.only, entries };
}

function isList(components: NonNullable<Recipe["components"]>): components is readonly string[] {
  return Array.isArray(components);
}

function laidOver(base: ComponentStages | undefined, entry: ComponentRecipe): ComponentStages {
  if (entry === null) return { kind: "exact" };
  if (entry.passes === undefined) return { kind: "recipe" };
  return { kind: "own", stages: overlay(base?.kind === "own" ? base.stages : [], entry.passes) };
}

/** What a component gets: by its name, else by its kind, else by default. */
export function componentStages(components: ResolvedComponents, component: NamedComponent): ComponentStages {
  const said = components.entries.get(component.name) ?? components.entries.get(component.kind);
  if (said !== undefined) return said;
  return { kind: component.kind === "denoiser" && !components.only ? "recipe" : "exact" };
}

/** Fails with COMPONENT_UNKNOWN on a name that is neither a component of the input nor a kind. */
export function checkComponents(components: ResolvedComponents, known: readonly NamedComponent[]): void {
  const names = [...known.map((c) => c.name), ...COMPONENT_KINDS];
  for (const component of components.entries.keys())
    if (!names.includes(component))
      fail("COMPONENT_UNKNOWN", { component, known: names, nearest: nearestName(component, names) });
}

/** The choice of every component of an input, by name: what a lock holds. */
export function lockedComponents(
  components: ResolvedComponents,
  known: readonly NamedComponent[],
): { readonly [name: string]: ComponentRecipe } {
  const entry = (c: NamedComponent): ComponentRecipe => {
    const chosen = componentStages(components, c);
    if (chosen.kind === "exact") return null;
    if (chosen.kind === "recipe") return {};
    return { passes: chosen.stages.map((s): StageEntry => ({ [s.name]: s.options })) };
  };
  return Object.fromEntries(known.map((c) => [c.name, entry(c)]));
}
