/** What happened to one model. `wrong` makes the run fail; everything else is counted. */
export interface Verdict {
  readonly file: string;
  readonly wrong: readonly string[];
  readonly read: boolean;
  readonly roundTrip: boolean;
  /** Output types: equal, partly unknown where the model declares more, or contradicting. */
  readonly shapes: "equal" | "unknown" | "conflict" | "none";
  /** The same when the inputs of the first data set are constants. */
  readonly shapesWithData: Verdict["shapes"];
  /** Which output is less known than declared even then. */
  readonly unknown: string | null;
  /** Why the runtime cannot load or run the original; `null` when it can. */
  readonly notRun: string | null;
  /** Data sets whose outputs were compared after exact passes. */
  readonly compared: number;
  /** The runtime itself gives something else than the expected output files. */
  readonly runtimeDiffers: string | null;
  /** Outputs depend on chance, so values cannot be compared. */
  readonly random: boolean;
}

/** A verdict while it is being reached. */
export type Draft = { -readonly [K in keyof Verdict]: Verdict[K] } & { readonly wrong: string[] };

/** An error as one line. */
export const reasonOf = (e: unknown): string =>
  (e instanceof Error ? e.message : String(e)).replace(/\s+/g, " ").trim();
