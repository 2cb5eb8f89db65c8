import type { Recipe } from "../../src/index.ts";

/** Middle of the trajectory: what calibrating at one step sees. */
const ONE_STEP = 500;
const RANK = 8;
/** How often layers are observed behind those stored already. */
const STAGES = 4;

type Options = Readonly<Record<string, string | number | boolean | null>>;

/** 8-bit layers by the given rules; all that are not guarded take part. */
function static8(
  options: Options,
  more: Pick<Recipe, "calibration"> & { readonly after?: string } = {},
): Recipe {
  const { after, calibration } = more;
  return {
    extends: "exact",
    calibration: { samples: 8, ...calibration },
    passes: [
      "clean",
      { "quantize-static": { floor: null, faster: false, ...options } },
      ...(after === undefined ? [] : [after]),
    ],
  };
}

/** 4-bit weights; activations stay float. */
function weights4(options: Options, after?: string): Recipe {
  return {
    extends: "exact",
    calibration: { samples: 8 },
    passes: [
      "clean",
      { "quantize-weights": { format: "w4", ...options } },
      ...(after === undefined ? [] : [after]),
    ],
  };
}

const single = { calibration: { timesteps: [ONE_STEP] } };
const tensor = { activations: "tensor" };
/** Q and DQ around constants, one scale per tensor of activations and of weights of linear layers. */
const npu = { bits: 8 };
const constant = { time: "constant" };

/** Builds by label. */
export const RECIPES = {
  "8 bit": static8({}),
  "8 bit, one step calibrated": static8({}, single),
  "8 bit, constant": static8(constant),
  "8 bit, per tensor": static8(tensor),
  "8 bit, per source": static8({ activations: "source" }),
  "8 bit, per tensor, constant": static8({ ...tensor, ...constant }),
  "8 bit, per tensor, constant, one step calibrated": static8({ ...tensor, ...constant }, single),
  "8 bit, not smoothed": static8({ smooth: "off" }),
  "8 bit, biases as they are": static8({ correctBias: false }),
  "8 bit, 7-bit weights": static8({ saturation: "seven-bit" }),
  "8 bit, may saturate": static8({ saturation: "none" }),
  "8 bit for an NPU": static8({ ...npu }),
  "8 bit for an NPU, not smoothed": static8({ ...npu, smooth: "off" }),
  "8 bit for an NPU, 4 graphs": static8({ ...npu, time: "graphs", buckets: 4 }),
  "8 bit, 4 buckets": static8({ buckets: 4 }),
  "8 bit, PTQD": static8({}, { after: "correct-output" }),
  "4 bit, nearest": weights4({ method: "rtn" }),
  "4 bit, nearest, PTQD": weights4({ method: "rtn" }, "correct-output"),
  "4 bit, GPTQ": weights4({ method: "gptq" }),
  "4 bit, GPTQ, in stages": weights4({ method: "gptq", sequential: STAGES }),
  "4 bit, GPTQ, in stages, steered": weights4({ method: "gptq", sequential: STAGES, steer: true }),
  "4 bit, GPTQ, branch": weights4({ method: "gptq", lowRank: RANK }),
} satisfies Readonly<Record<string, Recipe>>;

export type ShapeRecipe = keyof typeof RECIPES;

/** Targets of builds that are not for `cpu-x64`. */
export const TARGETS: Partial<Readonly<Record<ShapeRecipe, string>>> = {
  "8 bit for an NPU": "qnn-htp",
  "8 bit for an NPU, not smoothed": "qnn-htp",
  "8 bit for an NPU, 4 graphs": "qnn-htp",
};

/** Builds whose speed is compared. */
export const TIMED: readonly ShapeRecipe[] = ["8 bit", "8 bit, 7-bit weights", "8 bit, may saturate"];

/** One build against another that lacks a method. */
export interface Claim {
  readonly name: string;
  readonly on: ShapeRecipe;
  readonly off: ShapeRecipe;
  readonly figure: "mean" | "worst";
  /** Whether it has to help; the others may turn out not to, which is after said with this reason. */
  readonly must: boolean;
  readonly otherwise: string;
}

/** What is claimed, and why it may fail here. */
export const CLAIMS: readonly Claim[] = [
  {
    name: "calibrating all steps (PTQ4DM, Q-Diffusion)",
    on: "8 bit, per tensor, constant",
    off: "8 bit, per tensor, constant, one step calibrated",
    figure: "mean",
    must: true,
    otherwise: "ranges hardly move over the trajectory",
  },
  {
    name: "calibrating all steps (PTQ4DM, Q-Diffusion)",
    on: "8 bit",
    off: "8 bit, one step calibrated",
    figure: "mean",
    must: true,
    otherwise: "ranges per channel of one step cover the others",
  },
  {
    name: "sources of a concatenation apart (Q-Diffusion)",
    on: "8 bit, per source",
    off: "8 bit, per tensor",
    figure: "mean",
    must: false,
    otherwise:
      "a norm between concatenation and convolution levels its sources, and a transformer has no concatenation",
  },
  {
    name: "a scale per channel, which holds sources apart too",
    on: "8 bit",
    off: "8 bit, per source",
    figure: "mean",
    must: false,
    otherwise: "a patch transformer has no convolutions inside",
  },
  {
    name: "scales that follow the timestep",
    on: "8 bit, per tensor",
    off: "8 bit, per tensor, constant",
    figure: "worst",
    must: false,
    otherwise: "what is left at the worst step does not come from ranges that move",
  },
  {
    name: "scales that follow the timestep, per channel",
    on: "8 bit",
    off: "8 bit, constant",
    figure: "worst",
    must: false,
    otherwise: "what is left at the worst step does not come from ranges that move",
  },
  {
    name: "smoothing (SmoothQuant)",
    on: "8 bit",
    off: "8 bit, not smoothed",
    figure: "mean",
    must: false,
    otherwise: "few sites can absorb a scale, and their channels are alike",
  },
  {
    name: "smoothing (SmoothQuant), one scale per tensor",
    on: "8 bit for an NPU",
    off: "8 bit for an NPU, not smoothed",
    figure: "mean",
    must: false,
    otherwise: "weights with one scale lose what activations gain",
  },
  {
    name: "one graph per bucket of timesteps",
    on: "8 bit for an NPU, 4 graphs",
    off: "8 bit for an NPU",
    figure: "worst",
    must: false,
    otherwise: "what is left at the worst step does not come from ranges that move",
  },
  {
    name: "scales in buckets of timesteps",
    on: "8 bit, 4 buckets",
    off: "8 bit, constant",
    figure: "worst",
    must: false,
    otherwise: "what is left at the worst step does not come from ranges that move",
  },
  {
    name: "bias correction (DFQ)",
    on: "8 bit",
    off: "8 bit, biases as they are",
    figure: "mean",
    must: false,
    otherwise: "rounding weights of 8 bits shifts means by little",
  },
  {
    name: "pairs instead of 7 bits",
    on: "8 bit",
    off: "8 bit, 7-bit weights",
    figure: "mean",
    must: false,
    otherwise: "activations cost more than the eighth bit of the weights",
  },
  {
    name: "pairs instead of saturation",
    on: "8 bit",
    off: "8 bit, may saturate",
    figure: "mean",
    must: false,
    otherwise: "sums rarely overflow with these weights, or the processor has VNNI",
  },
  {
    name: "GPTQ over rounding to nearest",
    on: "4 bit, GPTQ",
    off: "4 bit, nearest",
    figure: "mean",
    must: true,
    otherwise: "inputs are hardly correlated",
  },
  {
    name: "fitting behind compressed layers",
    on: "4 bit, GPTQ, in stages",
    off: "4 bit, GPTQ",
    figure: "mean",
    must: false,
    otherwise: "inputs behind compressed layers are nearly those of the original",
  },
  {
    name: "moving weights towards the original output (GPTAQ)",
    on: "4 bit, GPTQ, in stages, steered",
    off: "4 bit, GPTQ, in stages",
    figure: "mean",
    must: false,
    otherwise: "what it takes for signal is partly noise of the layers before",
  },
  {
    name: `low-rank branch of rank ${RANK} over GPTQ (SVDQuant)`,
    on: "4 bit, GPTQ, branch",
    off: "4 bit, GPTQ",
    figure: "mean",
    must: false,
    otherwise: "errors left by GPTQ have no dominant directions",
  },
  {
    name: "output correction (PTQD) at 4 bits",
    on: "4 bit, nearest, PTQD",
    off: "4 bit, nearest",
    figure: "mean",
    must: false,
    otherwise: "errors are hardly correlated with the output",
  },
  {
    name: "output correction (PTQD) at 8 bits",
    on: "8 bit, PTQD",
    off: "8 bit",
    figure: "mean",
    must: false,
    otherwise: "errors are hardly correlated with the output",
  },
];
