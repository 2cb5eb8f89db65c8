import { fail } from "../diagnostics/index.ts";
import type { Json } from "../ir/tensor.ts";
import { findPass, passGroups } from "../passes/index.ts";
import type { Bindings } from "../passes/pass.ts";
import { finishPlan, legalisePlan } from "../targets/legalise.ts";
import type { Target } from "../targets/target.ts";
import { checkOrder } from "./order.ts";
import { checkComponents, componentStages } from "./recipe/components.ts";
import { stagesFor } from "./recipe/resolve.ts";
import type { ResolvedRecipe, Stage } from "./recipe/types.ts";
import { completeOptions } from "./recipe/validate.ts";
import { type ComponentInfo, staticBindings } from "./shapes.ts";
import { planSplit, type SplitPlan } from "./split/plan.ts";

/** One pass of a plan, its options complete. */
export interface PlannedPass {
  readonly pass: string;
  readonly options: { readonly [key: string]: Json };
  /** Why it is there: the recipe lists it, `--shape` asks for it, or the target needs it. */
  readonly from: "recipe" | "shape" | "target";
}

/** What happens to one component: passes all targets share run once, then each target goes its own way. */
export interface ComponentPlan {
  readonly component: string;
  /** Lossy passes of its list run; otherwise only the exact ones before and behind them. */
  readonly lossy: boolean;
  readonly shared: readonly PlannedPass[];
  readonly targets: readonly TargetPlan[];
}

/** What a component goes through for one target. */
export interface TargetPlan {
  readonly target: string;
  readonly passes: readonly PlannedPass[];
  /** An error budget that decides how strong some of the passes are. */
  readonly split?: SplitPlan;
}

/** Everything a build will do, before a weight is read. */
export interface Plan {
  readonly seed: number;
  readonly components: readonly ComponentPlan[];
  readonly verify: boolean;
}

/** What a plan is made from. */
export interface PlanInput {
  readonly recipe: ResolvedRecipe;
  readonly components: readonly ComponentInfo[];
  readonly targets: readonly Target[];
  readonly verify: boolean;
}

function planned(stage: Stage, from: PlannedPass["from"]): PlannedPass {
  const pass = findPass(stage.name);
  if (pass === undefined) throw new Error(`the plan names pass "${stage.name}", which is not registered`);
  return { pass: pass.name, options: completeOptions(pass, stage.options, "recipe"), from };
}

const cleaned = (from: PlannedPass["from"]): PlannedPass[] =>
  (passGroups["clean"] ?? []).map((name) => planned({ name, options: {} }, from));

function specialise(dims: Bindings, from: PlannedPass["from"]): PlannedPass[] {
  return Object.keys(dims).length === 0
    ? []
    : [planned({ name: "specialise-shapes", options: { dims: { ...dims } } }, from)];
}

const same = (a: PlannedPass, b: PlannedPass): boolean => JSON.stringify(a) === JSON.stringify(b);

/** The passes a recipe has for a component on a target; those of its own list are the same on every target. */
function stagesOf(input: PlanInput, component: ComponentInfo, target: Target): PlannedPass[] {
  const { recipe } = input;
  const chosen = componentStages(recipe.components, component);
  const stages = chosen.kind === "own" ? chosen.stages : stagesFor(recipe, target.id);
  return stages.map((s) => planned(s, "recipe"));
}

/** Steps of one component for one target, in order. */
function stepsFor(input: PlanInput, component: ComponentInfo, target: Target): PlannedPass[] {
  const { recipe } = input;
  const wanted = { ...recipe.shape, ...recipe.targets.get(target.id)?.shape };
  const asked = Object.fromEntries(Object.entries(wanted).filter(([dim]) => component.dims.includes(dim)));
  const stages = stagesOf(input, component, target);
  checkOrder(stages);
  const lossy = getsLossy(input, component);
  const isExact = (p: PlannedPass): boolean => findPass(p.pass)?.effect === "exact";
  const firstLossy = stages.findIndex((p) => !isExact(p));
  const portable = firstLossy < 0 ? stages : stages.slice(0, firstLossy);
  const rest = firstLossy < 0 ? [] : stages.slice(firstLossy).filter((p) => lossy || isExact(p));
  const missing = target.shapes.static ? staticBindings(component, asked, target.id) : {};
  const legal = legalisePlan(target).map((s) => planned(s, "target"));
  const finish = finishPlan(target).map((s) => planned(s, "target"));
  const needed = specialise(missing, "target");
  const named =
    recipe.output.names === "short" ? [planned({ name: "shorten-names", options: {} }, "recipe")] : [];
  const narrow =
    recipe.output.integers === "narrow" ? [planned({ name: "narrow-inputs", options: {} }, "recipe")] : [];
  return [
    ...specialise(asked, "shape"),
    ...portable,
    ...(needed.length > 0 ? [...needed, ...cleaned("target")] : []),
    ...legal,
    ...rest,
    ...cleaned("target"),
    ...narrow,
    ...finish,
    ...named,
  ];
}

/** Fails with SHAPE_DIM_UNKNOWN on a dim no component has. */
function checkDims(input: PlanInput): void {
  const known = [...new Set(input.components.flatMap((c) => c.dims))];
  const asked = [input.recipe.shape, ...[...input.recipe.targets.values()].map((t) => t.shape ?? {})];
  for (const dim of asked.flatMap((s) => Object.keys(s)))
    if (!known.includes(dim)) fail("SHAPE_DIM_UNKNOWN", { dim, known });
}

/** Whether lossy passes of a component's list run. */
function getsLossy(input: PlanInput, component: ComponentInfo): boolean {
  return componentStages(input.recipe.components, component).kind !== "exact";
}

/** Whether a component gets the recipe's own list, to which a split budget belongs. */
function followsRecipe(input: PlanInput, component: ComponentInfo): boolean {
  return componentStages(input.recipe.components, component).kind === "recipe";
}

/**
 * Resolves what will be done, in order, without touching a file. Errors: SHAPE_DIM_UNKNOWN, SHAPE_NEEDED,
 * COMPONENT_UNKNOWN, PASS_ORDER, and recipe errors of a pass's options.
 */
export function plan(input: PlanInput): Plan {
  checkDims(input);
  checkComponents(input.recipe.components, input.components);
  const components = input.components.map((component): ComponentPlan => {
    const steps = input.targets.map((t) => stepsFor(input, component, t));
    let common = 0;
    const first = steps[0] ?? [];
    const sharable = (i: number): boolean =>
      first[i]!.from !== "target" &&
      findPass(first[i]!.pass)?.effect === "exact" &&
      steps.every((s) => s[i] !== undefined && same(s[i], first[i]!));
    while (common < first.length && sharable(common)) common++;
    return {
      component: component.name,
      lossy: getsLossy(input, component),
      shared: first.slice(0, common),
      targets: input.targets.map((t, i) => {
        const passes = steps[i]!.slice(common);
        const { split } = input.recipe;
        const splits = split !== null && component.denoiser && followsRecipe(input, component);
        return { target: t.id, passes, ...(splits && { split: planSplit(split, passes, t) }) };
      }),
    };
  });
  return { seed: input.recipe.seed, components, verify: input.verify };
}
