import { Ajv } from "ajv";
import { fail } from "../../diagnostics/index.ts";
import type { Json } from "../../ir/tensor.ts";
import { editDistance, nearestName } from "../nearest.ts";
import type { SamplerId, SchedulerConfig } from "./types.ts";

/** Most training timesteps a configuration may declare; published ones use 1,000 to 4,000. */
const MAX_TRAIN_STEPS = 100_000;

const number = { type: "number" };
const flag = { type: "boolean" };
const positive = { type: "number", exclusiveMinimum: 0 };
const count = { type: "integer", minimum: 1, maximum: MAX_TRAIN_STEPS };
const oneOf = (...values: string[]) => ({ enum: values });

const PROPERTIES = {
  _class_name: { type: "string" },
  num_train_timesteps: count,
  beta_start: { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 1 },
  beta_end: { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 1 },
  beta_schedule: oneOf("linear", "scaled_linear", "squaredcos_cap_v2"),
  trained_betas: {
    type: "array",
    minItems: 1,
    maxItems: MAX_TRAIN_STEPS,
    items: { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 1 },
  },
  prediction_type: oneOf("epsilon", "v_prediction", "sample", "flow_prediction"),
  timestep_spacing: oneOf("leading", "trailing", "linspace"),
  steps_offset: { type: "integer", minimum: 0, maximum: MAX_TRAIN_STEPS },
  set_alpha_to_one: flag,
  clip_sample: flag,
  clip_sample_range: { type: "number", exclusiveMinimum: 0 },
  thresholding: flag,
  dynamic_thresholding_ratio: { type: "number", minimum: 0, maximum: 1 },
  sample_max_value: { type: "number", exclusiveMinimum: 0 },
  rescale_betas_zero_snr: flag,
  variance_type: oneOf(
    "fixed_small",
    "fixed_small_log",
    "fixed_large",
    "fixed_large_log",
    "learned",
    "learned_range",
  ),
  interpolation_type: oneOf("linear", "log_linear"),
  use_karras_sigmas: flag,
  use_exponential_sigmas: flag,
  use_beta_sigmas: flag,
  use_lu_lambdas: flag,
  use_flow_sigmas: flag,
  flow_shift: { type: "number", exclusiveMinimum: 0 },
  sigma_min: positive,
  sigma_max: positive,
  timestep_type: oneOf("discrete", "continuous"),
  final_sigmas_type: oneOf("zero", "sigma_min"),
  solver_order: { type: "integer", minimum: 1, maximum: 3 },
  solver_type: oneOf("midpoint", "heun", "logrho", "bh1", "bh2"),
  algorithm_type: { type: "string" },
  lower_order_final: flag,
  euler_at_final: flag,
  lambda_min_clipped: number,
  predict_x0: flag,
  disable_corrector: { type: "array", items: { type: "integer", minimum: 0 }, maxItems: MAX_TRAIN_STEPS },
  skip_prk_steps: flag,
  original_inference_steps: count,
  timestep_scaling: { type: "number", exclusiveMinimum: 0 },
  shift: { type: "number", exclusiveMinimum: 0 },
  shift_terminal: { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 1 },
  use_dynamic_shifting: flag,
  time_shift_type: oneOf("exponential", "linear"),
  base_shift: number,
  max_shift: number,
  base_image_seq_len: { type: "integer", minimum: 1 },
  max_image_seq_len: { type: "integer", minimum: 1 },
  invert_sigmas: flag,
  stochastic_sampling: flag,
  s_churn: number,
};

/** Keys of published configurations that no sampler here needs. */
const IGNORED = ["sample_size", "rho", "solver_p", "beta_sigmas_alpha", "time_shift", "hidden_act"];

const ajv = new Ajv({ allErrors: true, strict: true, allowUnionTypes: true });
const validate = ajv.compile<Record<string, Json>>({ type: "object", properties: PROPERTIES });

const DEFAULTS: Omit<SchedulerConfig, "_class_name"> = {
  num_train_timesteps: 1000,
  beta_start: 0.0001,
  beta_end: 0.02,
  beta_schedule: "linear",
  trained_betas: null,
  prediction_type: "epsilon",
  timestep_spacing: "linspace",
  steps_offset: 0,
  set_alpha_to_one: true,
  clip_sample: false,
  clip_sample_range: 1,
  thresholding: false,
  dynamic_thresholding_ratio: 0.995,
  sample_max_value: 1,
  rescale_betas_zero_snr: false,
  variance_type: null,
  interpolation_type: "linear",
  use_karras_sigmas: false,
  use_exponential_sigmas: false,
  use_beta_sigmas: false,
  use_lu_lambdas: false,
  use_flow_sigmas: false,
  flow_shift: 1,
  sigma_min: null,
  sigma_max: null,
  timestep_type: "discrete",
  final_sigmas_type: null,
  solver_order: 2,
  solver_type: "midpoint",
  algorithm_type: "dpmsolver++",
  lower_order_final: true,
  euler_at_final: false,
  lambda_min_clipped: Number.NEGATIVE_INFINITY,
  predict_x0: true,
  disable_corrector: [],
  skip_prk_steps: false,
  original_inference_steps: 50,
  timestep_scaling: 10,
  shift: 1,
  shift_terminal: null,
  use_dynamic_shifting: false,
  time_shift_type: "exponential",
  base_shift: 0.5,
  max_shift: 1.15,
  base_image_seq_len: 256,
  max_image_seq_len: 4096,
  invert_sigmas: false,
  stochastic_sampling: false,
};

/** Where a class's own defaults differ; keys absent from a file mean these. */
const CLASS_DEFAULTS: Readonly<Record<SamplerId, Partial<SchedulerConfig>>> = {
  ddim: { timestep_spacing: "leading", clip_sample: true },
  ddpm: { timestep_spacing: "leading", clip_sample: true, variance_type: "fixed_small" },
  pndm: { timestep_spacing: "leading", set_alpha_to_one: false },
  euler: {},
  "euler-ancestral": {},
  heun: { beta_start: 0.00085, beta_end: 0.012 },
  "dpm-solver++": {},
  unipc: { solver_type: "bh2" },
  lcm: { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" },
  "flow-euler": { prediction_type: "flow_prediction" },
};

/**
 * Checks the entries of a configuration object; `where` names it in messages. A null entry counts as absent. Unknown keys
 * are left alone unless they look like a mistyped known one. Fails with CONFIG_INVALID.
 */
export function checkConfig(raw: unknown, where: string): Record<string, Json> {
  const problems: string[] = [];
  const isObject = typeof raw === "object" && raw !== null && !Array.isArray(raw);
  const config: unknown = isObject
    ? Object.fromEntries(Object.entries(raw).filter(([, v]) => v !== null))
    : raw;
  if (!validate(config)) {
    for (const e of validate.errors ?? []) {
      const allowed = e.keyword === "enum" ? ` (${(e.params["allowedValues"] as unknown[]).join(", ")})` : "";
      problems.push(`${e.instancePath === "" ? "the file" : e.instancePath.slice(1)} ${e.message}${allowed}`);
    }
    fail("CONFIG_INVALID", { file: where, problems });
  }
  const known = [...Object.keys(PROPERTIES), ...IGNORED];
  for (const key of Object.keys(config)) {
    if (key.startsWith("_") || known.includes(key)) continue;
    const near = nearestName(key, known, 2);
    if (near !== null && editDistance(key, near) <= 2) problems.push(`unknown key ${key}, expected ${near}`);
  }
  if (problems.length > 0) fail("CONFIG_INVALID", { file: where, problems });
  return config;
}

/** The checked configuration with every default of the sampler filled in. */
export function completeConfig(
  checked: Record<string, Json>,
  sampler: SamplerId,
  where: string,
): SchedulerConfig {
  const config = {
    _class_name: "",
    ...DEFAULTS,
    ...CLASS_DEFAULTS[sampler],
    ...checked,
  } as SchedulerConfig;
  const unsupported = (option: string, found: unknown, expected: string): never =>
    fail("SCHEDULER_OPTION_UNSUPPORTED", { where, option, found: JSON.stringify(found), expected });
  if (config.use_beta_sigmas) unsupported("use_beta_sigmas", true, "false, or use_karras_sigmas");
  if (sampler === "pndm" && checked["_class_name"] === "PNDMScheduler" && !config.skip_prk_steps) {
    unsupported("skip_prk_steps", false, "true");
  }
  const betas = config.trained_betas;
  if (betas !== null && betas.length !== config.num_train_timesteps) {
    fail("CONFIG_INVALID", {
      file: where,
      problems: [
        `trained_betas has ${betas.length} entries, num_train_timesteps is ${config.num_train_timesteps}`,
      ],
    });
  }
  if (sampler === "dpm-solver++" && !["dpmsolver++", "sde-dpmsolver++"].includes(config.algorithm_type)) {
    unsupported("algorithm_type", config.algorithm_type, "dpmsolver++ or sde-dpmsolver++");
  }
  const flow = config.prediction_type === "flow_prediction" || config.use_flow_sigmas;
  if (flow && !["flow-euler", "dpm-solver++", "unipc"].includes(sampler)) {
    unsupported("prediction_type", "flow_prediction", "epsilon, v_prediction or sample with this sampler");
  }
  // A solver type of another class (a configuration reused with another sampler) falls back to the own default.
  const types = sampler === "unipc" ? ["bh1", "bh2"] : ["midpoint", "heun"];
  const solver = types.includes(config.solver_type)
    ? config.solver_type
    : sampler === "unipc"
      ? "bh2"
      : "midpoint";
  return { ...config, solver_type: solver };
}
