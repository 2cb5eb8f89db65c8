/** What the denoiser predicts: noise, velocity (Salimans and Ho 2022), the clean sample, or flow velocity. */
export type Prediction = "epsilon" | "v_prediction" | "sample" | "flow_prediction";

/** Sample values: float32 from the model, float64 as carried between steps. */
export type Numbers = Float32Array | Float64Array;

/** Sampler ids, the names recipes use. */
export type SamplerId =
  | "ddim"
  | "ddpm"
  | "pndm"
  | "euler"
  | "euler-ancestral"
  | "heun"
  | "dpm-solver++"
  | "unipc"
  | "lcm"
  | "flow-euler";

/**
 * A noise schedule with its timesteps laid out: immutable, so one plan serves any number of trajectories. `i` always
 * counts *model calls*, from 0 to `timesteps.length - 1`; a second-order sampler makes more calls than `steps`.
 */
export interface Scheduler {
  readonly sampler: SamplerId;
  readonly prediction: Prediction;
  /** Steps asked for. */
  readonly steps: number;
  /** What the denoiser is told, one entry per model call; fractional for some spacings. */
  readonly timesteps: Float64Array;
  /** Noise-to-signal ratio at each call and the final one (variance-preserving), or flow time in [0, 1]. */
  readonly sigmas: Float64Array;
  /** Standard deviation of the starting noise. */
  readonly initNoiseSigma: number;
  /** The model's output carries a learned variance behind the prediction, which `step` takes as `variance`. */
  readonly learnsVariance: boolean;
  /** Whether call `i` consumes Gaussian noise. */
  usesNoise(i: number): boolean;
  /** The denoiser's input for sample `x` at call `i`, a new array. */
  scaleInput(x: Numbers, i: number): Float32Array;
  /** Starts a trajectory of `batch` samples laid out one after the other. */
  start(batch?: number): SchedulerRun;
}

export interface StepExtras {
  /** Standard normal, same length as the sample; needed where {@link Scheduler.usesNoise}. */
  readonly noise?: Numbers;
  /** The learned variance half of the model's output, same length as the sample. */
  readonly variance?: Numbers;
}

/** One trajectory: holds the history of multistep solvers. Calls go in order, each once. */
export interface SchedulerRun {
  /**
   * The sample after call `i`, from the guided model output at the scaled input. Carry it on in float64: where sigma
   * falls from 20,000 to 4 in one second-order step, float32 would lose the fourth digit of what remains.
   */
  step(output: Numbers, i: number, x: Numbers, extras?: StepExtras): Float64Array;
}

/** The fields of `scheduler_config.json` that any sampler here reads, as the files spell them. */
export interface SchedulerConfig {
  readonly _class_name: string;
  readonly num_train_timesteps: number;
  readonly beta_start: number;
  readonly beta_end: number;
  readonly beta_schedule: "linear" | "scaled_linear" | "squaredcos_cap_v2";
  readonly trained_betas: readonly number[] | null;
  readonly prediction_type: Prediction;
  readonly timestep_spacing: "leading" | "trailing" | "linspace";
  readonly steps_offset: number;
  readonly set_alpha_to_one: boolean;
  readonly clip_sample: boolean;
  readonly clip_sample_range: number;
  readonly thresholding: boolean;
  readonly dynamic_thresholding_ratio: number;
  readonly sample_max_value: number;
  readonly rescale_betas_zero_snr: boolean;
  readonly variance_type:
    | "fixed_small"
    | "fixed_small_log"
    | "fixed_large"
    | "fixed_large_log"
    | "learned"
    | "learned_range"
    | null;
  readonly interpolation_type: "linear" | "log_linear";
  readonly use_karras_sigmas: boolean;
  readonly use_exponential_sigmas: boolean;
  readonly use_beta_sigmas: boolean;
  readonly use_lu_lambdas: boolean;
  readonly use_flow_sigmas: boolean;
  readonly flow_shift: number;
  readonly sigma_min: number | null;
  readonly sigma_max: number | null;
  readonly timestep_type: "discrete" | "continuous";
  /** `null` when the file has no such key; see `dpm-solver.ts`. */
  readonly final_sigmas_type: "zero" | "sigma_min" | null;
  readonly solver_order: number;
  readonly solver_type: "midpoint" | "heun" | "logrho" | "bh1" | "bh2";
  readonly algorithm_type: "dpmsolver++" | "sde-dpmsolver++";
  readonly lower_order_final: boolean;
  readonly euler_at_final: boolean;
  /** Finite, or `-Infinity` for no limit. */
  readonly lambda_min_clipped: number;
  readonly predict_x0: boolean;
  readonly disable_corrector: readonly number[];
  readonly skip_prk_steps: boolean;
  readonly original_inference_steps: number;
  readonly timestep_scaling: number;
  readonly shift: number;
  readonly shift_terminal: number | null;
  readonly use_dynamic_shifting: boolean;
  readonly time_shift_type: "exponential" | "linear";
  readonly base_shift: number;
  readonly max_shift: number;
  readonly base_image_seq_len: number;
  readonly max_image_seq_len: number;
  readonly invert_sigmas: boolean;
  readonly stochastic_sampling: boolean;
}

/** What the caller of a sampler decides, beside the file. */
export interface ScheduleOptions {
  readonly steps: number;
  /** Stochasticity of DDIM, from 0 (deterministic) to 1. */
  readonly eta: number;
  /** Tokens of the image, for flow schedules with dynamic shift. */
  readonly sequenceLength: number | null;
}
