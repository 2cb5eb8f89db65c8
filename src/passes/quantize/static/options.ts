import type { SaturationRule } from "../../../numeric/quantize/saturation.ts";
import type { ActivationBits } from "../../../targets/lower/qdq.ts";
import type { TimeScales } from "../../../targets/target.ts";
import { type FidelityFloor, floorOption } from "../../fidelity-floor.ts";
import type { JsonSchema } from "../../pass.ts";
import type { Activations } from "./plan.ts";
import type { Smoothing } from "./smooth.ts";

/** How scales follow the timestep: inside one graph, or `graphs`: constants in each of several graphs. */
export type TimeForm = TimeScales | "graphs";

/** Options of `quantize-static`. */
export interface QuantizeStaticOptions {
  readonly saturation: SaturationRule;
  /** What activations and weights become. */
  readonly numbers: "integer" | "float8";
  /** `null`: 16 where the target prefers that, else 8. */
  readonly bits: ActivationBits | null;
  /** Bits of weights; 4 where linear layers may have them. */
  readonly weights: 8 | 4;
  /** `null`: the finest way the target takes. */
  readonly time: TimeForm | null;
  /** Most buckets of timesteps that share their scales; `null`: scales follow every step, graphs come in 4. */
  readonly buckets: number | null;
  readonly activations: Activations;
  /** `null`: keys and values of the text stay float. */
  readonly firstToken: "exact" | null;
  readonly smooth: Smoothing;
  readonly correctBias: boolean;
  readonly floor: FidelityFloor | null;
  readonly faster: boolean;
  readonly rows: number;
  readonly match: string | null;
  readonly exclude: string | null;
  readonly guards: boolean;
  readonly minElements: number;
}

/** Docs page of `quantize-static`. */
export const staticDoc = `Convolutions and linear layers with a constant weight run on integers: weights of 8 bits,
activations of 8 or 16, ranges from sampled trajectories of the original. Per activation the range of every channel at
every timestep is split into a factor of the timestep and a range of the channel; where the factor moves by more than a
tenth it is followed (\`time\`), because ranges of diffusion models shrink or grow severalfold along the trajectory and
one scale for all steps costs the steps with small ranges most (Q-Diffusion, arXiv:2302.04304; PTQ4DM, arXiv:2211.15736).
\`smooth\` evens out the channels of an activation that has one scale, in the norm or modulation in front of it, as
far as the weights behind it gain from it (SmoothQuant, arXiv:2211.10438); \`correctBias\` the mean of the
weights' rounding error into the bias.

How layers are written is the target's choice. On onnxruntime's CPU provider they become QLinearConv and
\`com.microsoft.MatMulIntegerToFloat\`, with activation scales per channel and looked up by timestep, which costs nothing
there. Elsewhere, and without a target, they are written in standard operators: QuantizeLinear and DequantizeLinear with
one scale around each activation and result, weights behind a DequantizeLinear of their own, and biases in int32 on the
grid of the products. Behind a matrix product, and where a range moves, the bias is added in float behind the result.
Activations have 16 bits where the target prefers that; below opset 21 their operators come from \`com.microsoft\`. Scales
that follow the timestep are looked up, or stay constants while the activation is divided by a looked-up factor and the
result multiplied by it (\`normalised\`), or are not followed, whichever the target takes. A target without integer
arithmetic is left in float, and the report says so.

Where a target multiplies floats of 8 bits (E4M3FN, OCP 8-bit floating point, 2023), \`numbers: float8\` writes those instead:
an activation is scaled so that its range ends at 448, weights so that each output's largest one does, biases stay float.
Steps grow with the number, so small values keep three bits where a range is wide; close to the end of the range integers
are finer. A model has numbers of one family: layers the target does not run in fp8 stay float.

\`weights: 4\` writes linear layers in 4 bits on NPUs that expand blocks (low-power block quantization, LPBQ): a block of
inputs has an integer scale of 4 bits, times a float unit per output channel, behind a DequantizeLinear of its own. Every
block takes the scale with the least squared error. Weights are then the larger error by far.

With \`buckets\` the timesteps are cut where ranges move (dynamic programming on their logarithms, layers weighted by their
elements), and scales are equal within a bucket. \`graphs\`, for targets that want constant scales, writes one graph per
bucket with constants of its own and a common file of weights; \`model.graphs.json\` beside them says which serves which
timesteps. Where scales may be looked up one graph does the same, so there \`graphs\` is
written as a table.

Layers stay float, each with its reason in the report: first and last ones, what depends on the timestep and conditions
alone, what reads a graph input (of the text, \`firstToken\` takes all tokens but the first); grouped and transposed convolutions; on the CPU, layers where conversions are estimated
to cost more than 8 bits save (\`faster\`); and, with a \`floor\`, those whose measured damage is largest for what they
save, until the guided output keeps that fidelity on the calibration trajectory.

Processors that add two products in 16 bits saturate; \`saturation\` chooses weight scales at which they cannot.`;

const pattern = (description: string) => ({ type: ["string", "null"], default: null, description });
const flag = (value: boolean, description: string) => ({ type: "boolean", default: value, description });

/** JSON Schema of {@link QuantizeStaticOptions}. */
export const staticOptions: JsonSchema = {
  type: "object",
  additionalProperties: false,
  properties: {
    saturation: {
      enum: ["pairs", "seven-bit", "none"],
      default: "pairs",
      description:
        "What keeps 16-bit additions of x86 processors without VNNI exact: scales at which no two neighbouring weights can overflow, weights of 7 bits, or nothing. Applies to 8-bit activations on targets that add so.",
    },
    numbers: {
      enum: ["integer", "float8"],
      default: "integer",
      description:
        "Integers, or floats of 8 bits (E4M3FN) on targets that multiply them; elsewhere integers are written and the report says so.",
    },
    bits: {
      enum: [8, 16, null],
      default: null,
      description: "Width of activations; null is the target's own.",
    },
    weights: {
      enum: [8, 4],
      default: 8,
      description:
        "Bits of weights. 4 is for linear layers of targets that take it beside activations of 16 bits, in blocks with integer scales; everything else keeps 8, and the report says so.",
    },
    time: {
      enum: ["gathered", "normalised", "constant", "graphs", null],
      default: null,
      description:
        "Scales that follow the timestep, looked up in a table; constant scales with activations divided by a looked-up factor before and results multiplied after; one scale for all steps; or constant scales in each of several graphs over one file of weights, a graph per bucket of timesteps. null is the first of these that the target takes, constant where there is no target.",
    },
    buckets: {
      type: ["integer", "null"],
      minimum: 2,
      maximum: 16,
      default: null,
      description:
        "At most this many buckets of timesteps, which share their scales; boundaries are the same for all layers. null follows every timestep, and is 4 for graphs.",
    },
    activations: {
      enum: ["channel", "source", "tensor"],
      default: "channel",
      description:
        "Scales of a convolution's input and output: one per channel, one per source of a concatenation, or one. Where Q and DQ are written it is one.",
    },
    firstToken: {
      enum: ["exact", null],
      default: null,
      description:
        "exact quantizes keys and values that cross-attention makes of the text input, except those of the first token, whose activation stays float: it is the same for every text and larger than all others (MixDQ). null leaves these layers in float.",
    },
    smooth: {
      anyOf: [{ enum: ["off", "auto"] }, { type: "number", minimum: 0, maximum: 1 }],
      default: "auto",
      description:
        "How much of the differences between the channels of an activation moves into the weights behind it, where a norm, a constant factor or a modulation before it absorbs that (SmoothQuant): a share, or the share with the least predicted error of what the layers make, none included.",
    },
    correctBias: flag(true, "Take the mean of the weights' rounding error out of the bias."),
    floor: floorOption(
      "Fidelity that has to remain on the calibration trajectory: layers whose measured damage is largest for what they save stay float until it does.",
    ),
    faster: flag(true, "Leave layers float where conversions are estimated to cost more than 8 bits save."),
    rows: {
      type: "integer",
      minimum: 0,
      default: 32,
      description: "Positions per call that the range search sees.",
    },
    match: pattern("Regular expression; only layers whose node name matches are quantized."),
    exclude: pattern("Regular expression; layers whose node name matches stay float."),
    guards: flag(
      true,
      "Keep first and last layers, the time path and layers that read a graph input in float. Lifting it is reported.",
    ),
    minElements: {
      type: "integer",
      minimum: 1,
      default: 1024,
      description: "Layers with fewer weights stay float.",
    },
  },
};
