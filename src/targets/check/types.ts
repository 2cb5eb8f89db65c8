import type { Node } from "../../ir/graph.ts";
import type { Target } from "../target.ts";
import type { CheckView } from "./view.ts";

/**
 * What a broken rule means: `reject`: the session fails to load or to run, or the compiler refuses the graph; `slow`: it
 * runs, but not where or as fast as meant; `numeric`: it runs and the numbers are not what the graph says.
 */
export type Severity = "reject" | "slow" | "numeric";

/** Where a node runs: on integers or packed weights, in float, or not on the accelerator at all. */
export type Verdict = "quantized" | "float" | "leaves";

/** One place where a rule does not hold. */
export interface Finding {
  /** `null` for what concerns the whole file. */
  readonly node: Node | null;
  /** What was found and what the rule wants. */
  readonly why: string;
  /** Where the node runs because of it; as it would otherwise unless said. */
  readonly places?: "float" | "leaves";
}

/** A row of the rule table. */
export interface Rule {
  readonly id: string;
  readonly severity: Severity;
  /** Path of the descriptor's field the rule compares with; it does not apply where the field is absent. */
  readonly capability: string;
  /** The condition that must hold, in words. */
  readonly claim: string;
  readonly source: string;
  /** Version of the runtime, importer or compiler the claim is about. */
  readonly runtime: string;
  /** The fault was shown with the pinned onnxruntime-node, in `test/targets/check`. */
  readonly confirmed: boolean;
  /** Whether the rule says anything about a target. */
  applies(target: Target): boolean;
  /** Where the condition does not hold. Pure. */
  find(view: CheckView, target: Target): readonly Finding[];
}

/** A rule as written: the data it compares with is picked from the descriptor once, typed. */
export interface RuleSpec<D> extends Omit<Rule, "applies" | "find"> {
  /** The data of the capability; `null` or `undefined` where the target does not have it. */
  readonly of: (target: Target) => D | null | undefined;
  readonly find: (view: CheckView, data: D, target: Target) => Iterable<Finding>;
}

/** Ties a rule to its data. */
export function defineRule<D>(spec: RuleSpec<D>): Rule {
  const { of, find, ...row } = spec;
  return {
    ...row,
    applies: (target) => (of(target) ?? null) !== null,
    find: (view, target) => {
      const data = of(target) ?? null;
      return data === null ? [] : [...find(view, data, target)];
    },
  };
}

/** What is reported of a finding. */
export interface CheckFinding {
  readonly rule: string;
  readonly severity: Severity;
  /** Empty for the whole file. */
  readonly node: string;
  readonly op: string;
  readonly why: string;
}

/** Where one node runs, and why when that is not the best there is. */
export interface NodeVerdict {
  readonly node: string;
  readonly op: string;
  readonly verdict: Verdict;
  readonly why: string | null;
}

/** What a check of a model against a target found. Plain data. */
export interface TargetCheck {
  readonly target: string;
  readonly findings: readonly CheckFinding[];
  readonly counts: Readonly<Record<Severity, number>>;
  /** Nodes that run, in graph order; constants and what folds at load are left out. */
  readonly nodes: readonly NodeVerdict[];
  readonly verdicts: Readonly<Record<Verdict, number>>;
  /** Maximal subgraphs that run on the accelerator without a stop in between. */
  readonly partitions: number;
  /** FLOPs of one run, and the share of them on the accelerator; `null` where a length is unknown. */
  readonly flops: { readonly total: number; readonly share: number } | null;
}
