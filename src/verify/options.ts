import type { Pipeline } from "../calibrate/pipeline.ts";
import type { Model } from "../ir/graph.ts";
import type { Arithmetic, Runtime } from "../runtime/index.ts";
import type { Effort } from "./settings.ts";
import type { SettingName } from "./types.ts";

/** One side: a pipeline or build folder, a `.onnx` file, an opened pipeline, or a model in memory. */
export type VerifySource = string | Model | Pipeline;

/** Options of {@link verify}. */
export interface VerifyOptions {
  /** Reused when given, else one is made and closed. */
  readonly runtime?: Runtime;
  /** `full` (default): 16 seeds and every setting. `quick`: 4 seeds, the main setting. */
  readonly effort?: Effort;
  /** Settings besides the main one, instead of those of the effort. */
  readonly settings?: readonly SettingName[];
  /** How many judging seeds the main setting uses; the others use half. */
  readonly seeds?: number;
  /** Root of the judging seeds; they never coincide with calibration seeds. */
  readonly seed?: number;
  readonly steps?: number;
  readonly guidance?: number;
  readonly sampler?: string;
  /** Samples run together; default 4. */
  readonly batch?: number;
  /** Intra-op threads of the sessions; default 1. */
  readonly threads?: number;
  /** How the candidate's Q/DQ pairs are computed; `fused` unless said. */
  readonly arithmetic?: Arithmetic;
  /** npz of conditions that replaces the pipeline's own. */
  readonly conditions?: string;
  /** Lengths of symbolic dims, or of `input.axis`. */
  readonly bindings?: Readonly<Record<string, number>>;
  /** Plain models: how many input sets are compared; default 4. */
  readonly inputSets?: number;
  /** Plain models: exclusive upper bound of integer inputs, by name. */
  readonly below?: Readonly<Record<string, number>>;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}
