import type { Model } from "../../../src/ir/graph.ts";
import type { Json } from "../../../src/ir/tensor.ts";

/** A pass by name with the options that differ from its defaults. */
export type Step = readonly [pass: string, options?: Readonly<Record<string, Json>>];

/** A small model that shows what one pass does; its docs page prints the graph before and after. */
export interface Example {
  /** What the model is, in a few words behind "Of". */
  readonly of: string;
  /** Builds the model anew. */
  build(): Model;
  readonly options?: Readonly<Record<string, Json>>;
  readonly target?: string;
  /** Passes that make of the model what the pass is usually given. */
  readonly after?: readonly Step[];
  /** Pages print the types that are stored in the model instead of those inferred. */
  readonly stored?: boolean;
  /** Passes that tidy up what the pass leaves; dead nodes are always removed. */
  readonly tidy?: readonly Step[];
  /**
   * The model is a denoiser that is sampled for what the pass asks to measure. Numbers that come of it differ in their
   * last digits from processor to processor, and pages leave them out.
   */
  readonly sampled?: boolean;
}

/** Examples by the name of their pass. */
export type Examples = Readonly<Record<string, Example>>;
