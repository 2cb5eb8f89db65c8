import type { Plot } from "./plot.ts";
import type { Scratch } from "./scratch.ts";
import type { Cell } from "./table.ts";

/** What a case may use. */
export interface BenchContext {
  /** Folder with `cifar-unet`, `cifar-dit`, `skeletons`. */
  readonly models: string;
  readonly scratch: Scratch;
  /** Says what is going on, on stderr. */
  readonly say: (text: string) => void;
}

/** One figure that has to hold. */
export interface Check {
  readonly name: string;
  readonly value: number;
  /** `at most` or `at least` the limit. */
  readonly relation: "<=" | ">=";
  readonly limit: number;
  readonly unit: string;
}

/** What a case found: a table for people and the checks with their limits. */
export interface CaseResult {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
  readonly checks: readonly Check[];
  /** Commands that make the figures, as a user would type them. */
  readonly commands: readonly string[];
  readonly notes?: readonly string[];
  /** Charts shown under the table. */
  readonly plots?: readonly Plot[];
}

/** One bench case; the file name is its id. */
export interface BenchCase {
  readonly name: string;
  readonly title: string;
  /** Paths below the models folder it reads. */
  readonly needs: readonly string[];
  /** Free bytes of scratch and memory without which the case is not started. */
  readonly disk?: number;
  readonly memory?: number;
  /** Left out of a plain run: only with `--only` or `--all`. */
  readonly large?: boolean;
  run(context: BenchContext): Promise<CaseResult>;
}

/** True when the check holds. */
export function met(check: Check): boolean {
  return check.relation === "<=" ? check.value <= check.limit : check.value >= check.limit;
}
