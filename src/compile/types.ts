import type { Bindings } from "../passes/pass.ts";
import type { Report } from "../report/types.ts";
import type { OnCompileEvent } from "./events.ts";
import type { Recipe } from "./recipe/types.ts";

/** What decides the result of a build. */
export interface BuildChoices {
  /** A recipe: path of a YAML or JSON file, or the object itself. Default: the preset alone. */
  readonly recipe?: string | Recipe;
  /** Preset that the recipe is laid over, instead of what it extends. Default: `exact`. */
  readonly preset?: string;
  /** Target ids, or `["all"]`. Default: those of the recipe, else `cpu-x64`. */
  readonly targets?: readonly string[];
  /** Lengths of symbolic dims, or of `input.axis`. */
  readonly shape?: Bindings;
  /**
   * Prove exact passes on inputs and sample the builds against the original. Default: where the model is small enough
   * to be held in memory twice; `true` does it whatever the size.
   */
  readonly verify?: boolean;
}

/** Options of {@link compile}. */
export interface CompileOptions extends BuildChoices {
  /** Folder of the build; replaced only when the new build is complete, and only if it holds a build. */
  readonly out: string;
  /** Bytes of weights that may be in memory at once. */
  readonly maxMemory?: number;
  /** Threads that derive weights. Never changes a byte of the result. */
  readonly workers?: number;
  /** Clock in milliseconds for the times in the report; without one they are 0. */
  readonly now?: () => number;
  /** Peak resident bytes of the process, for the report. */
  readonly memory?: () => number;
  readonly onEvent?: OnCompileEvent;
  /** Aborts the run: what was written so far is removed and INTERRUPTED thrown. */
  readonly signal?: AbortSignal;
  /** Stop running passes after this many, to bisect a bad one. */
  readonly stopAfter?: number;
  /** 0 off, 1 verify, 2 keep the last good graph text, 3 dump the text after every pass into `dumpFolder`. */
  readonly debug?: number;
  readonly dumpFolder?: string;
}

/** What {@link compile} did. */
export interface CompileResult {
  readonly out: string;
  readonly report: Report;
}
