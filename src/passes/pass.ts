import type { CrossGram, CrossRequest } from "../calibrate/statistics/cross.ts";
import type { Oracle, Statistics, StatisticsRequest } from "../calibrate/statistics/types.ts";
import type { Evaluator } from "../ir/evaluator.ts";
import type { Graph, Model } from "../ir/graph.ts";
import type { InferredShapes } from "../ir/infer.ts";
import type { Json, TensorReader } from "../ir/tensor.ts";
import type { Target } from "../targets/target.ts";

/** JSON Schema (draft 2020-12) of a pass's options. Every property has a `description` and a `default`. */
export type JsonSchema = { readonly [key: string]: Json };

/** One thing a pass did, left alone or did otherwise than asked: never silently. Goes into the report as is. */
export interface Decision {
  /** Node name (or value name for tensors); "" for the whole graph. */
  readonly node: string;
  readonly kind: "applied" | "skipped" | "downgraded" | "forced";
  /** Rule inside the pass, kebab-case: `layer-norm`, `int8-per-channel`. */
  readonly rule: string;
  /** For people: why. Required unless `applied`. */
  readonly why?: string;
  readonly from?: string;
  readonly to?: string;
  /** How many nodes this line stands for, when equal decisions are merged. */
  readonly count?: number;
  readonly bytesBefore?: number;
  readonly bytesAfter?: number;
  readonly error?: {
    readonly metric: "mse" | "sqnr-db" | "max-abs";
    readonly value: number;
    /** The same figure on inputs of seeds and timesteps that nothing was fitted to. */
    readonly heldOut?: number;
  };
}

/** Symbolic dim name (or `input.axis`) to length. */
export type Bindings = Readonly<Record<string, number>>;

/**
 * What samplers may know of a compressed denoiser: the variance of the guided output's error, per timestep, ascending.
 * Fields are columns of one table.
 */
export interface ResidualVariance {
  readonly timesteps: readonly number[];
  /** Mean square per element, in units of the output; of seeds that no correction was fitted on. */
  readonly variance: readonly number[];
  /** Guidance scale it was measured at. */
  readonly guidance: number;
}

/** Conditions a build was frozen to: it answers NaN at any other. */
export interface FrozenConditions {
  /** Graph inputs that are compared with the conditions. */
  readonly inputs: readonly string[];
  readonly count: number;
}

/** Facts about a build for whoever samples with it; they go into the manifest. */
export interface SamplingFacts {
  readonly residualVariance?: ResidualVariance;
  readonly frozenConditions?: FrozenConditions;
  /** Timesteps the build answers at, ascending; NaN at any other. */
  readonly frozenTimesteps?: readonly number[];
}

/**
 * Inputs that no fit has seen: other seeds, at timesteps between those of the calibration trajectory. For figures beside
 * predicted ones, never for choices.
 */
export interface HeldOut {
  /** As {@link PassContext.collect}. */
  collect(request: StatisticsRequest, of?: Model): Promise<Statistics | null>;
  /** As {@link PassContext.collectCross}. */
  collectCross(
    requests: readonly CrossRequest[],
    original: Model,
    of?: Model,
  ): Promise<ReadonlyMap<string, CrossGram> | null>;
}

/** What a pass may use. Nothing else may influence its result. */
export interface PassContext {
  readonly model: Model;
  /** The target the build is for; `null` in the portable part of a recipe. */
  readonly target: Target | null;
  readonly seed: number;
  readonly evaluator: Evaluator;
  readonly reader: TensorReader;
  /** Inferred types of the graph as it is now; cached until the graph changes. */
  shapes(): InferredShapes;
  /** Range statistics per value name over the calibration trajectory; `null` when none were collected. */
  readonly ranges: RangeStatistics | null;
  /** Why this part of a pipeline is known to overflow in fp16; absent when nothing says so. */
  readonly halfUnsafe?: string;
  /** What {@link Pass.wantsStatistics} asked for; `null` when the model cannot be sampled or nothing was asked. */
  readonly statistics: Statistics | null;
  /** The original on its calibration trajectory; `null` when it cannot be sampled or the pass did not want it. */
  readonly oracle: Oracle | null;
  /**
   * Statistics of a model other than the one the pass started with: `of`, by default the model as it is now. Costs a
   * trajectory; `null` when the original cannot be sampled.
   */
  collect(request: StatisticsRequest, of?: Model): Promise<Statistics | null>;
  /**
   * Inputs of layers in a model, by default the one as it is now, against those in `original`, by layer. Costs a
   * trajectory of both; `null` when the original cannot be sampled. Layers whose value either model does not compute are
   * absent.
   */
  collectCross(
    requests: readonly CrossRequest[],
    original: Model,
    of?: Model,
  ): Promise<ReadonlyMap<string, CrossGram> | null>;
  /** Absent where nothing is held out. */
  readonly heldOut?: HeldOut | null;
  decide(d: Decision): void;
  /** Leaves facts for the manifest; later ones replace earlier ones of the same name. */
  publish(facts: SamplingFacts): void;
}

/** Per value name: extremes over the whole trajectory (all seeds, all steps). */
export interface RangeStatistics {
  readonly get: (valueName: string) => { readonly min: number; readonly max: number } | undefined;
}

/** One thing a pass would work on, as a dry run shows it. */
export interface PreviewLine {
  /** Name of a layer or group; "" for the whole graph. */
  readonly subject: string;
  readonly what: string;
}

/** What a preview may use: everything that is known without reading a weight. */
export type PreviewContext = Pick<PassContext, "model" | "target" | "shapes">;

export interface Pass<Options = unknown> {
  /** kebab-case, a verb phrase; also the file name. */
  readonly name: string;
  readonly family:
    | "clean"
    | "fuse"
    | "convert"
    | "quantize"
    | "freeze"
    | "prune"
    | "sparsify"
    | "factorize"
    | "share"
    | "legalise";
  /** One line for `--help` and the docs page. */
  readonly summary: string;
  /** Paragraphs for the docs page: what it does, when it does nothing, limits, references. */
  readonly doc: string;
  /** `exact`: outputs equal up to float rounding. `lossy`: judged by verification. */
  readonly effect: "exact" | "lossy";
  /**
   * Of a lossy pass: lowest SQNR in dB of any float output on the small fixtures, with default options. The laws hold
   * the pass to it.
   */
  readonly minSqnrDb?: number;
  readonly options: JsonSchema;
  /** The pass reads weights though it is exact, so a plan from shapes alone leaves it out. */
  readonly readsWeights?: true;
  /** Whether the pass makes use of range statistics with these options on this target; collecting them costs a trajectory. */
  wantsRanges?(options: Options, target: Target | null): boolean;
  /**
   * Statistics the pass wants of the model as it is when the pass starts; `null` for none. Collecting them costs one or
   * more trajectories.
   */
  wantsStatistics?(
    graph: Graph,
    options: Options,
    ctx: Pick<PassContext, "model" | "target" | "shapes">,
  ): StatisticsRequest | null;
  /** Whether the pass judges what it does on the original's recorded trajectory. */
  wantsOracle?(options: Options, target: Target | null): boolean;
  /** What the pass would work on, from structure alone: no weight is read, nothing is sampled. */
  preview?(graph: Graph, options: Options, ctx: PreviewContext): readonly PreviewLine[];
  /** Bump when the output for the same input changes. */
  readonly version: number;
  run(graph: Graph, options: Options, ctx: PassContext): Promise<void> | void;
}

/** Identity helper that fixes the option type at the definition. */
export function definePass<Options>(pass: Pass<Options>): Pass<Options> {
  return pass;
}
