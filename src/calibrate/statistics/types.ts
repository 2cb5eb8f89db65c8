import type { Dense } from "../../ir/evaluator.ts";
import type { Model } from "../../ir/graph.ts";
import type { Session, SessionOptions } from "../../runtime/index.ts";

/** A value whose distribution a pass wants to know. */
export interface ValueRequest {
  /** Value name in the model the statistics are collected on. */
  readonly name: string;
  /** Channel axis; `null` treats the whole tensor as one channel. */
  readonly axis: number | null;
  /** Seeded positions kept per call, each with all channels; 0 keeps none. */
  readonly rows: number;
}

/** Patches a convolution sees, so that its Gram is that of its unfolded input. */
export interface Unfold {
  readonly kernel: readonly [number, number];
  readonly strides: readonly [number, number];
  /** top, left, bottom, right. */
  readonly pads: readonly [number, number, number, number];
  readonly dilations: readonly [number, number];
}

/** A layer whose input Gram Σ x xᵀ a pass wants. */
export interface GramRequest {
  /** Key under which the result is found: the layer's node name. */
  readonly layer: string;
  /** The layer's activation. */
  readonly value: string;
  /** Axis of input channels of the activation. */
  readonly axis: number;
  /** `null` for matrix products and 1×1 convolutions: K = channels. Else K = channels·kh·kw, channel slowest. */
  readonly unfold: Unfold | null;
  /** Groups of calls (by index) summed apart; `null`: one sum. At most four. */
  readonly buckets?: readonly (readonly number[])[] | null;
}

/** Everything one pass asks of a calibration run. */
export interface StatisticsRequest {
  readonly values: readonly ValueRequest[];
  readonly grams: readonly GramRequest[];
}

/** One call of the model along the trajectory: a step of the sampler, summed over seeds and both guidance halves. */
export interface CalibrationCall {
  readonly timestep: number;
  /** Share of an error at this step in the error of the final sample, mean 1 over calls; 1 where not measured. */
  readonly weight: number;
}

/** Distribution of one value, per call and channel; arrays are `calls × channels`, call slowest. */
export interface ValueStatistics {
  readonly name: string;
  readonly channels: number;
  /** Elements behind each entry. */
  readonly count: number;
  readonly min: Float64Array;
  readonly max: Float64Array;
  readonly mean: Float64Array;
  /** Mean of squares. */
  readonly square: Float64Array;
  /** Positions kept per call. */
  readonly rows: number;
  /** `calls × rows × channels`. */
  readonly sample: Float32Array;
}

/** Weighted Gram of a layer's input: Σ_calls weight · Σ_positions x xᵀ, divided by the number of positions. */
export interface GramStatistics {
  readonly layer: string;
  readonly size: number;
  /** One `size × size` matrix per bucket, row major, symmetric, float64. */
  readonly sums: readonly Float64Array[];
  /** Σ weight · x / positions, one vector per bucket: what bias correction and an appended constant 1 need. */
  readonly means: readonly Float64Array[];
  /** Positions behind each sum. */
  readonly positions: readonly number[];
  /** Numerical rank of the sum over buckets (relative tolerance 1e-6): closed forms generalise only as far. */
  readonly rank: number;
  /**
   * False where a convolution was too large to unfold: the Gram is then that of its channels, `size` their number, an
   * approximation that serves every tap alike.
   */
  readonly exact: boolean;
}

/** Statistics of a model along the calibration trajectory of the ORIGINAL model (teacher forcing). */
export interface Statistics {
  readonly calls: readonly CalibrationCall[];
  value(name: string): ValueStatistics | undefined;
  gram(layer: string): GramStatistics | undefined;
}

/** One recorded call of the original model: what it was fed and what it answered, both guidance halves in one batch. */
export interface OracleCall extends CalibrationCall {
  readonly feeds: ReadonlyMap<string, Dense>;
  /** Output by name, float32. */
  readonly outputs: ReadonlyMap<string, Dense>;
}

/** Error of a candidate against the original, per call. */
export interface CallErrors {
  /** Σ ‖ε‖² of the guided output per call. */
  readonly signal: Float64Array;
  /** Σ ‖ε̂ − ε‖² of the guided output per call. */
  readonly noise: Float64Array;
  /** Teacher-forced SQNR per call in dB. */
  readonly sqnr: Float64Array;
  readonly mean: number;
  readonly worst: number;
}

/**
 * The original model on its calibration trajectory, for passes that judge what they do by the network's output:
 * sensitivity, exclusion by damage, output correction, allocation. Never sees a verification seed.
 */
export interface Oracle {
  readonly calls: readonly OracleCall[];
  /** Guidance scale of the trajectory and halves in a batch (unconditional rows first when 2). */
  readonly guidance: number;
  readonly halves: 1 | 2;
  /** Name of the denoiser's output. */
  readonly output: string;
  /** Loads a candidate; the caller releases it. One intra-op thread unless asked otherwise. */
  open(model: Model, options?: SessionOptions): Promise<Session>;
  /**
   * Runs a candidate (or an open session of one) on the recorded inputs and compares guided outputs. `calls` picks some
   * of them by index; the result then has an entry for each.
   */
  errors(candidate: Model | Session, calls?: readonly number[]): Promise<CallErrors>;
}
