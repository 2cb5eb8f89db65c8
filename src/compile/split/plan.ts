import { fail } from "../../diagnostics/index.ts";
import type { Json } from "../../ir/tensor.ts";
import { findPass } from "../../passes/index.ts";
import type { Target } from "../../targets/target.ts";
import type { PlannedPass } from "../plan.ts";
import type { Split } from "../recipe/types.ts";
import { completeOptions } from "../recipe/validate.ts";

type Options = PlannedPass["options"];

/** The strengths one pass may get, from mild to strong; it may also be left out. */
export interface Ladder {
  readonly pass: string;
  readonly levels: readonly {
    /** What the recipe says of this level. */
    readonly given: Options;
    readonly options: Options;
  }[];
}

/** An error budget and the passes it is split over. */
export interface SplitPlan {
  /** Mean teacher-forced SQNR in dB that has to be left. */
  readonly sqnr: number;
  readonly per: NonNullable<Split["per"]>;
  /** Whose machine estimates are made with; it has one where `per` is latency. */
  readonly target: Target;
  readonly ladders: readonly Ladder[];
}

/**
 * Completes the options of every level. Errors: RECIPE_INVALID for a pass that the list has not, or twice, or that loses
 * nothing; ALLOCATION_LATENCY_UNKNOWN for time on a target without a machine.
 */
export function planSplit(split: Split, passes: readonly PlannedPass[], target: Target): SplitPlan {
  const per = split.per ?? "bytes";
  if (per === "latency" && target.machine === undefined)
    fail("ALLOCATION_LATENCY_UNKNOWN", { target: target.id });
  const ladders = Object.entries(split.over).map(([name, levels]): Ladder => {
    const steps = passes.filter((p) => p.pass === name);
    const refuse = (problem: string): never =>
      fail("RECIPE_INVALID", { file: "recipe", problems: [{ at: `split/over/${name}`, problem }] });
    if (steps.length !== 1)
      return refuse(
        `names a pass that the recipe lists ${steps.length === 0 ? "nowhere" : `${steps.length} times`}; a budget is split over passes listed once`,
      );
    const pass = findPass(name)!;
    if (pass.effect === "exact") return refuse("names an exact pass, which costs no error");
    return {
      pass: name,
      levels: levels.map((given) => ({
        given: given as Options,
        options: completeOptions(
          pass,
          { ...steps[0]!.options, ...(given as { [key: string]: Json }) },
          "recipe",
        ),
      })),
    };
  });
  return { sqnr: split.sqnr, per, target, ladders };
}

/** The passes at one level of each ladder, -1 for left out. */
export function passesAt(
  passes: readonly PlannedPass[],
  ladders: readonly Ladder[],
  levels: readonly number[],
): PlannedPass[] {
  return passes.flatMap((p) => {
    const i = ladders.findIndex((l) => l.pass === p.pass);
    if (i < 0) return [p];
    const level = levels[i]!;
    return level < 0 ? [] : [{ ...p, options: ladders[i]!.levels[level]!.options }];
  });
}
